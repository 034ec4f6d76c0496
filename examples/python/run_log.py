"""Writes the events of one attempt to the run's log, through as many streams as it takes.

An event keeps its place until it is acknowledged. After a broken stream the relay says how many events of the attempt the
log holds, and the rest is sent again. Journaling never waits for this: with the log away the run goes on.
"""

import threading
import time
from collections import deque

import grpc

import stubs  # noqa: F401
from runmesh.stream.v1 import stream_service_pb2 as stream
from runmesh.stream.v1 import stream_service_pb2_grpc as stream_grpc
from runmesh.worker.v1 import lease_pb2 as lease_messages

# Events that wait at most; beyond that text is dropped: the finished step tells it whole.
WAITING_MAX = 1_000
BATCH = 64


class RunLog:
    def __init__(self, channel, lease, run_token, position, settle, tell_anew):
        """`settle(started)` gives the events that close what an earlier attempt left open in the log, `tell_anew()` those that
        tell a log that lost events what it should hold."""
        self.lease, self.settle, self.tell_anew = lease, settle, tell_anew
        self.metadata = [("authorization", f"Bearer {run_token}")]
        self.service = stream_grpc.StreamServiceStub(channel)
        self.changed = threading.Condition()
        self.waiting = deque()  # not acknowledged, oldest first
        self.before = 0  # events of the attempt that come before them
        self.position = lease_messages.LogPosition()
        self.position.CopyFrom(position)
        self.settled = self.over = False
        self.call = None
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()

    def tell(self, event):
        with self.changed:
            full = len(self.waiting) >= WAITING_MAX and event.WhichOneof("kind") == "text_delta"
            if not full and not self.over:
                self.waiting.append(event)
                self.changed.notify_all()

    def flush(self, seconds: float):
        """Waits until everything told is in the log, at most `seconds`. Returns where the log stands."""
        with self.changed:
            self.changed.wait_for(lambda: self.over or (self.settled and not self.waiting), timeout=seconds)
            return self.position

    def close(self):
        with self.changed:
            self.over = True
            self.changed.notify_all()
            if self.call is not None:
                self.call.cancel()
        self.thread.join()

    def _carry(self):
        pause = 0.05
        while not self.over:
            link = _Link(self)
            with self.changed:
                if self.over:
                    return
                self.call = self.service.Append(link.requests(), metadata=self.metadata)
            try:
                for answer in self.call:
                    pause = 0.05
                    self._hear(link, answer)
            except grpc.RpcError:
                # A token that no longer fits its run is refused here too; the run hears of it from its next journal write.
                pass
            link.end()
            time.sleep(pause)
            pause = min(pause * 2, 2)

    def _hear(self, link, answer):
        kind = answer.WhichOneof("message")
        with self.changed:
            if kind == "started":
                lost = answer.started.number < self.before
                self._acknowledge(answer.started)
                if lost:
                    self.waiting.extendleft(reversed(list(self.tell_anew())))
                elif not self.settled:
                    # Before anything of this attempt: close what the last one left open.
                    self.waiting.extendleft(reversed(list(self.settle(answer.started))))
                    self.settled = True
                link.sent = 0
                link.started = True
            elif kind == "ack":
                link.sent -= self._acknowledge(answer.ack)
            elif kind == "stopped":
                self.over = True
            self.changed.notify_all()

    def _acknowledge(self, answer) -> int:
        """How many events need not be kept any more. A log that lost events takes the rest under the numbers it has room for."""
        gone = max(0, min(answer.number - self.before, len(self.waiting)))
        for _ in range(gone):
            self.waiting.popleft()
        self.before = answer.number
        self.position.CopyFrom(answer.position)
        return gone


class _Link:
    """One Append stream."""

    def __init__(self, log: RunLog):
        self.log, self.sent, self.started, self.ended = log, 0, False, False

    def end(self):
        with self.log.changed:
            self.ended = True
            self.log.changed.notify_all()

    def requests(self):
        yield stream.AppendRequest(open=stream.AppendOpen(lease=self.log.lease))
        while True:
            with self.log.changed:
                self.log.changed.wait_for(self._has_work)
                if self.ended or self.log.over:
                    return
                batch = list(self.log.waiting)[self.sent : self.sent + BATCH]
                first = self.log.before + self.sent + 1
                self.sent += len(batch)
            yield stream.AppendRequest(events=stream.AppendEvents(first_number=first, events=batch))

    def _has_work(self):
        return self.ended or self.log.over or (self.started and self.sent < len(self.log.waiting))
