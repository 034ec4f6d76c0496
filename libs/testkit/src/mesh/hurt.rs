//! What tests do to a mesh.

use super::{Mesh, Service};
use crate::process::Process;
use rustix::process::Signal;
use std::process::ExitStatus;
use std::time::Duration;

impl Mesh {
    /// SIGKILL; the process is gone when this returns.
    pub fn kill(&mut self, service: Service) {
        self.processes.get_mut(&service).expect("a process").kill();
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self, service: Service, deadline: Duration) -> ExitStatus {
        let process = self.processes.get_mut(&service).expect("a process");
        process.signal(Signal::TERM);
        process.ended(deadline).await
    }

    /// SIGTERM; the process goes on for as long as it takes to end.
    pub fn ask_to_end(&mut self, service: Service) {
        self.processes[&service].signal(Signal::TERM);
    }

    /// Waits for a process to end by itself.
    pub async fn ended_by_itself(&mut self, service: Service, deadline: Duration) -> ExitStatus {
        self.processes.get_mut(&service).expect("a process").ended(deadline).await
    }

    /// Whether the process runs.
    pub fn is_running(&mut self, service: Service) -> bool {
        self.processes.get_mut(&service).is_some_and(Process::is_running)
    }

    /// Everything that the process and those before it in its place have printed.
    pub fn printed(&self, service: Service) -> String {
        self.processes[&service].printed()
    }

    /// SIGSTOP: the process stands still and its connections stay open.
    pub fn freeze(&mut self, service: Service) {
        self.processes[&service].signal(Signal::STOP);
    }

    /// Whether the process stands still, as its kernel says.
    pub fn is_frozen(&self, service: Service) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid(service))).unwrap_or_default();
        // The state follows the name, which stands in parentheses and may hold any of them.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// SIGCONT.
    pub fn thaw(&mut self, service: Service) {
        self.processes[&service].signal(Signal::CONT);
    }

    /// Starts a process that was killed or ended.
    pub fn revive(&mut self, service: Service) {
        self.start_process(service);
    }
}
