"""Sends one message and follows the answer: over broken connections, without losing or repeating a word.

    python chat.py "tell me a story"

With --break-after N the example hangs up after every N frames and comes back with its cursor, to show that it can.
"""

import argparse
import sys
import time
import uuid

import grpc

import stubs  # noqa: F401  (puts the generated modules on the path)
from errors import is_transient, reason
from runmesh.run.v1 import run_service_pb2 as run
from runmesh.run.v1 import run_service_pb2_grpc as run_grpc
from runmesh.stream.v1 import stream_service_pb2 as stream
from runmesh.stream.v1 import stream_service_pb2_grpc as stream_grpc
from runmesh.thread.v1 import message_pb2 as message
from runmesh.thread.v1 import thread_service_pb2 as thread
from runmesh.thread.v1 import thread_service_pb2_grpc as thread_grpc

CALL_SECONDS = 10
TRIES = 8


def retried(call, request):
    """A call that changes something. Its idempotency key makes a repeat harmless, so an unknown outcome is no problem."""
    for number in range(1, TRIES + 1):
        try:
            return call(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if number == TRIES or not is_transient(error):
                raise
            time.sleep(min(0.1 * 2**number, 3))


class Answer:
    """What a run has said: text by step. A retracted step is gone, a finished one is taken as the journal has it.

    Steps with a path are of branches: what they say is part of a tool's result, not of the answer.
    """

    def __init__(self):
        self.steps: dict[int, str] = {}
        self.finished = None

    def add_snapshot(self, part):
        """A step whose text is larger than a frame comes in several pieces."""
        for step in part.steps:
            if step.path:
                continue
            self.steps[step.step_index] = self.steps.get(step.step_index, "") + step.text
        if part.HasField("finished"):
            self.finished = part.finished

    def apply(self, event):
        kind = event.WhichOneof("kind")
        if kind is None or getattr(getattr(event, kind), "path", ""):
            return
        if kind == "step_started":
            self.steps[event.step_started.step_index] = ""
        elif kind == "text_delta":
            delta = event.text_delta
            self.steps[delta.step_index] = self.steps.get(delta.step_index, "") + delta.text
        elif kind == "step_retracted":
            self.steps.pop(event.step_retracted.step_index, None)
        elif kind == "step_finished":
            done = event.step_finished
            self.steps[done.step_index] = "".join(part.text.text for part in done.parts)
        elif kind == "log_restarted":
            self.steps.clear()
        elif kind == "run_finished":
            self.finished = event.run_finished

    def text(self) -> str:
        """The message as stored, once the run is over; until then what the steps have said."""
        if self.finished is not None:
            return "".join(part.text.text for part in self.finished.message.parts)
        return "".join(self.steps[index] for index in sorted(self.steps))


class Follower:
    """Takes the frames of a run, over any number of streams. The cursor is the only thing that a new stream needs."""

    def __init__(self, run_id: str, cursor: str):
        self.run_id, self.cursor = run_id, cursor
        self.answer, self.building = Answer(), Answer()
        self.chain = None
        self.returns = 0

    def request(self):
        # A snapshot that did not come whole is void.
        self.building = Answer()
        return stream.AttachRunRequest(run_id=self.run_id, cursor=self.cursor)

    def take(self, frame) -> bool:
        """True when this was the last frame of the run."""
        kind = frame.WhichOneof("frame")
        if kind == "events":
            self.take_events(frame.events)
        elif kind == "snapshot":
            self.building.add_snapshot(frame.snapshot)
            if frame.snapshot.complete:
                self.answer, self.building = self.building, Answer()
                self.chain, self.cursor = frame.snapshot.chain, frame.snapshot.cursor
        elif kind == "reset":
            # What was shown is void; a snapshot follows.
            self.answer, self.chain = Answer(), None
        elif kind == "end":
            return frame.end.reason == stream.End.REASON_FINISHED
        # Status and progress frames say that the run is alive; a person would be shown them.
        return False

    def take_events(self, events):
        """The rolling hash says that these events follow those that we hold: none is missing, none comes twice."""
        if self.chain not in (None, events.chain_before):
            raise SystemExit(f"the events from {events.first_seq} on do not follow what was seen before")
        for event in events.events:
            self.answer.apply(event)
        self.chain, self.cursor = events.chain_after, events.cursor


def follow(channel, follower: Follower, break_after: int) -> Answer:
    """Follows a run to its end, over as many streams as it takes."""
    service = stream_grpc.StreamServiceStub(channel)
    failures = 0
    while True:
        call = service.AttachRun(follower.request())
        try:
            for count, frame in enumerate(call, 1):
                failures = 0
                if follower.take(frame):
                    return follower.answer
                if break_after and count >= break_after:
                    call.cancel()
                    break
        except grpc.RpcError as error:
            failures += 1
            if failures >= TRIES or not is_transient(error):
                raise
            time.sleep(min(0.1 * 2**failures, 3))
        follower.returns += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--address", default="127.0.0.1:7420")
    parser.add_argument("--agent", default="", help="an agent's id or name; the org's default when absent")
    parser.add_argument("--break-after", type=int, default=0, metavar="N", help="hang up after every N frames")
    options = parser.parse_args()

    with grpc.insecure_channel(options.address) as channel:
        new = thread.CreateThreadRequest(idempotency_key=str(uuid.uuid4()), agent=options.agent)
        opened = retried(thread_grpc.ThreadServiceStub(channel).CreateThread, new).thread
        send = run.SendMessageRequest(
            idempotency_key=str(uuid.uuid4()),
            thread_id=opened.thread_id,
            parts=[message.Part(text=message.TextPart(text=options.text))],
        )
        sent = retried(run_grpc.RunServiceStub(channel).SendMessage, send)
        follower = Follower(sent.run_id, sent.cursor)
        answer = follow(channel, follower, options.break_after)

    state = run.Run.State.Name(answer.finished.state)
    print(answer.text())
    print(f"{sent.run_id} {state} returns={follower.returns} {answer.finished.reason}".rstrip(), file=sys.stderr)
    return 0 if answer.finished.state == run.Run.STATE_COMPLETED else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        sys.exit(f"{reason(error)}: {error.details()}")
