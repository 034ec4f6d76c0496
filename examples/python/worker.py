"""A worker in Python: holds a session, takes runs of its agents, and drives each in a thread of its own.

    RUNMESH_WORKER_TOKEN=$(python worker_token.py --key-file DATA/mesh.key) python worker.py --agent agt_…

SIGTERM or Ctrl-C gives the runs in hand back, and ends the session.
"""

import argparse
import os
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

import stubs  # noqa: F401
from drive import CALL_SECONDS, CLOCK, Drive, Dropped
from errors import reason
from runmesh.worker.v1 import worker_service_pb2 as worker
from runmesh.worker.v1 import worker_service_pb2_grpc as worker_grpc

# Leases end on a clock that goes on while the machine sleeps.
CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    return time.clock_gettime(CLOCK_ID)


class Worker:
    def __init__(self, channel, token: str, options):
        self.channel, self.options = channel, options
        self.metadata = [("authorization", f"Bearer {token}")]
        self.service = worker_grpc.WorkerServiceStub(channel)
        self.threads = ThreadPoolExecutor(max_workers=options.capacity)
        self.lock = threading.Lock()
        self.drives: dict[str, Drive] = {}
        self.outbox: queue.Queue = queue.Queue()
        self.call = None
        self.session_id, self.stream_number = "", 0
        self.lease_seconds = self.period_seconds = 1.0
        self.renewed = now()
        self.finished = 0
        self.stopping = threading.Event()

    # The session.

    def run(self):
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        pause = 0.1
        while not self.stopping.is_set():
            sent = now()
            with self.lock:
                self.outbox = queue.Queue()
                self._say(hello=self._hello())
                if self.options.runs == 0 or self.finished < self.options.runs:
                    self._say(credits=worker.Credits(add=self._room()))
                self.call = self.service.Claim(iter(self.outbox.get, None), metadata=self.metadata)
            try:
                for answer in self.call:
                    pause = 0.1
                    self._hear(answer, sent)
            except grpc.RpcError as error:
                self._stream_broke(error)
            self.stopping.wait(pause)
            pause = min(pause * 2, 3)
        heart.join()
        self.threads.shutdown()

    def stop(self):
        """Takes no more runs, gives back those in hand, and says goodbye."""
        self.stopping.set()
        for drive in self._all_drives():
            drive.release()
        # The end of our side of Claim is the session's end in good order.
        self.outbox.put(None)

    def _say(self, **message):
        self.outbox.put(worker.ClaimRequest(**message))

    def _hello(self):
        return worker.Hello(
            worker=self.options.name,
            capacity=self.options.capacity,
            agent_ids=self.options.agent,
            tools=[CLOCK],
            session_id=self.session_id,
        )

    def _room(self) -> int:
        room = self.options.capacity - len(self.drives)
        return room if self.options.runs == 0 else min(room, self.options.runs - self.finished - len(self.drives))

    def _stream_broke(self, error):
        if self.stopping.is_set() or error.code() == grpc.StatusCode.CANCELLED:
            return
        why = reason(error)
        print(f"claim: {why}: {error.details()}", flush=True)
        if why == "SESSION_LOST":
            self._lose_session()
        elif why in ("UNAUTHENTICATED", "TOKEN_EXPIRED", "PERMISSION_DENIED", "INVALID_FIELD"):
            # Trying again will not help; somebody has to look at the token or the options.
            self.stopping.set()

    def _hear(self, answer, sent: float):
        kind = answer.WhichOneof("message")
        if kind == "welcome":
            welcome = answer.welcome
            with self.lock:
                self.session_id, self.stream_number = welcome.session_id, welcome.stream_number
                self.lease_seconds = welcome.lease_duration.ToNanoseconds() / 1e9
                self.period_seconds = welcome.heartbeat_period.ToNanoseconds() / 1e9
                self.renewed = max(self.renewed, sent)
            print(f"session {welcome.session_id}", flush=True)
        elif kind == "assignment":
            self._take(answer.assignment)
        elif kind == "revoke":
            self._drop([answer.revoke.lease])
        elif kind == "cancel":
            self._cancel([answer.cancel.lease])
        elif kind == "drain":
            # The session goes on: the next Claim names it, at whatever replica answers.
            self.call.cancel()

    def _lose_session(self):
        """The leases are gone: drop everything, and begin anew with nothing in hand."""
        with self.lock:
            self.session_id, self.stream_number = "", 0
        for drive in self._all_drives():
            drive.drop()
        if self.call is not None:
            self.call.cancel()

    # Runs.

    def _take(self, assignment):
        run_id = assignment.lease.run_id
        self._say(ack=worker.AssignmentAck(lease=assignment.lease))
        self.threads.submit(self._drive, run_id, assignment)

    def _drive(self, run_id: str, assignment):
        try:
            drive = self._read(assignment)
            if drive is not None:
                with self.lock:
                    self.drives[run_id] = drive
                outcome = drive.to_end()
                print(f"{run_id} fence={assignment.lease.fence} {outcome}", flush=True)
        except Exception as error:
            # Not named in heartbeats any more, so the mesh takes it back.
            print(f"{run_id}: {error!r}", flush=True)
        with self.lock:
            self.drives.pop(run_id, None)
            self.finished += 1
            self._ended()

    def _read(self, assignment) -> Drive | None:
        """The run, ready to be driven. One that this worker cannot read is given back at once: another may be of a newer version."""
        try:
            return Drive(self.channel, assignment)
        except Dropped:
            return None
        except Exception as error:
            print(f"{assignment.lease.run_id}: cannot be read, and is released: {error!r}", flush=True)
            metadata = [("authorization", f"Bearer {assignment.run_token}")]
            # Without a position the log's place stays as it was.
            self.service.Release(worker.ReleaseRequest(lease=assignment.lease), timeout=CALL_SECONDS, metadata=metadata)
            return None

    def _ended(self):
        if self.options.runs == 0:
            self._say(credits=worker.Credits(add=1))
        elif self.finished >= self.options.runs:
            self.stopping.set()
            self.outbox.put(None)

    def _all_drives(self):
        with self.lock:
            return list(self.drives.values())

    def _drop(self, leases):
        for drive in self._all_drives():
            if drive.lease in leases:
                drive.drop()

    def _cancel(self, leases):
        for drive in self._all_drives():
            if drive.lease in leases:
                drive.cancel()

    # Heartbeats.

    def _beat(self):
        """Renews all leases at once, on a thread that nothing else can hold up."""
        while not self.stopping.wait(self.period_seconds):
            if not self.session_id:
                continue
            sent = now()
            try:
                self._renew(sent)
            except grpc.RpcError as error:
                # A heartbeat that did not get through is no lost lease, until the lease is over by our own clock.
                print(f"heartbeat: {reason(error)}", flush=True)
            if self.session_id and now() - self.renewed > 0.9 * self.lease_seconds:
                self._lose_session()

    def _renew(self, sent: float):
        with self.lock:
            session_id = self.session_id
            held = [drive.lease for drive in self.drives.values()]
            request = worker.HeartbeatRequest(session_id=session_id, stream_number=self.stream_number, held=held)
        answer = self.service.Heartbeat(request, timeout=self.period_seconds, metadata=self.metadata)
        if answer.status == worker.HeartbeatResponse.STATUS_LOST:
            if session_id == self.session_id:
                self._lose_session()
            return
        # Counted from the sending: the answer may have been long on its way. A heartbeat under a stream that broke renews nothing.
        if not answer.not_renewed:
            self.renewed = sent
        # Of the attempts that were named: a later one of the same run may have been assigned here meanwhile.
        self._drop([lease for lease in held if lease.run_id in answer.lost_run_ids])
        self._cancel([lease for lease in held if lease.run_id in answer.cancel_run_ids])
        if answer.drain:
            self.call.cancel()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:7420")
    parser.add_argument("--agent", action="append", default=[], help="an agent id to serve; repeatable; every agent when absent")
    parser.add_argument("--capacity", type=int, default=4, help="runs at once")
    parser.add_argument("--name", default=f"python-{socket.gethostname()}")
    parser.add_argument("--runs", type=int, default=0, help="end after so many runs; never when 0")
    options = parser.parse_args()
    token = os.environ.get("RUNMESH_WORKER_TOKEN")
    if not token:
        parser.error("RUNMESH_WORKER_TOKEN is not set; worker_token.py makes one")
    with grpc.insecure_channel(options.address) as channel:
        fellow = Worker(channel, token, options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=fellow.stop).start())
        fellow.run()
    return 0 if options.runs == 0 or fellow.finished >= options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
