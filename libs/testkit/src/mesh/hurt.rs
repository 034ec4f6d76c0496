//! What tests do to a mesh.

use super::{Mesh, Service};
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
