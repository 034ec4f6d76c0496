"""Drives one run: a small agent without a model. It looks at the clock, when its definition lets it, and answers.

What it shows is the order of things: tell the followers, journal the step, run its tool calls only when the server's verdict
allows them, finish. A run that was begun by another worker goes on behind its last journaled step.
"""

import datetime
import json
import threading
import time

import grpc

import stubs  # noqa: F401
from errors import is_transient, reason
from run_log import RunLog
from runmesh.run.v1 import run_service_pb2 as run
from runmesh.stream.v1 import event_pb2 as events
from runmesh.thread.v1 import message_pb2 as message
from runmesh.worker.v1 import worker_service_pb2 as worker
from runmesh.worker.v1 import worker_service_pb2_grpc as worker_grpc

MODEL = "python-example"
CLOCK = "current_time"
CALL_SECONDS = 10
WORD_SECONDS = 0.01
# What of a conversation the model is given, in bytes.
WINDOW_BYTES = 400_000


class Dropped(Exception):
    """The attempt is over; nothing more may be written for the run."""


class Canceled(Exception):
    """Somebody canceled the run; what was said so far is kept."""


class Drive:
    def __init__(self, channel, assignment):
        if not assignment.HasField("spec"):
            raise ValueError("an assignment without a spec")
        self.assignment, self.lease = assignment, assignment.lease
        self.metadata = [("authorization", f"Bearer {assignment.run_token}")]
        self.service = worker_grpc.WorkerServiceStub(channel)
        self.dropped, self.canceled = threading.Event(), threading.Event()
        if assignment.cancel_requested:
            self.canceled.set()
        self.messages, self.steps = [], []
        self._read_context(assignment.context if assignment.HasField("context") else None)
        # As the last attempt left it.
        self.journal = {(step.path, step.step_index): step for step in self.steps}
        # This worker opens no branches: it goes on from the steps of the top level, and only settles others.
        self.steps = [step for step in self.steps if not step.path]
        self.log = RunLog(channel, self.lease, assignment.run_token, assignment.position, self._settle, self._tell_anew)

    # What the worker's session tells.

    def drop(self):
        self.dropped.set()

    def cancel(self):
        self.canceled.set()

    # The run.

    def to_end(self) -> str:
        """How it ended, in one word."""
        said = []
        try:
            if not self.steps and self._may_look_at_the_clock():
                self._step_with_a_call()
            self._run_open_calls()
            answer = self._speak(len(self.steps) + 1, self._answer(), said)
            self._finish(worker.FinishRequest.OUTCOME_COMPLETED, answer)
            return "completed"
        except Canceled:
            partial = self._model_step(len(self.steps) + 1, [_text("".join(said))]) if said else None
            try:
                self._finish(worker.FinishRequest.OUTCOME_CANCELED, partial)
            except Dropped:
                return "dropped"
            return "canceled"
        except Dropped:
            return "dropped"
        finally:
            self.log.close()

    def release(self):
        """Gives the run back, for another worker to go on with."""
        try:
            self._call(self.service.Release, worker.ReleaseRequest(lease=self.lease, acked=self.log.flush(1)))
        except Dropped:
            pass
        self.drop()

    def _may_look_at_the_clock(self) -> bool:
        tools = self.assignment.spec.agent.tools
        return any(tool.name == CLOCK and tool.WhichOneof("kind") == "builtin" for tool in tools)

    def _step_with_a_call(self):
        """A model call as a model would make it: some words, and a tool call."""
        index = len(self.steps) + 1
        spoken = self._speak(index, "I look at the clock. ", [])
        self.log.tell(events.RunEvent(tool_call_started=events.ToolCallStarted(step_index=index, name=CLOCK)))
        arguments = events.ToolCallArgumentsDelta(step_index=index, arguments_json="{}")
        self.log.tell(events.RunEvent(tool_call_arguments_delta=arguments))
        spoken.result.parts.append(message.Part(tool_call=message.ToolCallPart(call_id=f"call_{index}", name=CLOCK, arguments_json="{}")))
        spoken.result.finish_reason = "tool_calls"
        verdicts = self._record(worker.JournalEntry(model_step=spoken)).verdicts
        # Only now do followers hear that it is finished: what they hold is what the journal holds.
        self.log.tell(self._finished_event(index, spoken.result))
        journaled = worker.JournaledStep(step_index=index, result=spoken.result)
        for verdict in verdicts:
            allowed = verdict.decision == worker.Verdict.DECISION_ALLOW
            state = run.Step.CALL_STATE_RESERVED if allowed else run.Step.CALL_STATE_FAILED
            call = worker.JournaledCall(call_index=verdict.call_index, state=state, verdict=verdict, content=verdict.reason)
            journaled.calls.append(call)
            if not allowed:
                self._tell_result(index, call.call_index, verdict.reason, True)
        self.steps.append(journaled)

    def _run_open_calls(self):
        """A call is journaled as dispatched before it is made, so that a successor knows that it may have happened."""
        for step in self.steps:
            for call in step.calls:
                if call.state not in (run.Step.CALL_STATE_RESERVED, run.Step.CALL_STATE_DISPATCHED):
                    continue
                place = {"step_index": step.step_index, "call_index": call.call_index}
                self._record(worker.JournalEntry(call_dispatched=worker.CallDispatched(**place)))
                # Reading the clock can be repeated. A call with effects would carry call.verdict.idempotency_key.
                content = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                self._record(worker.JournalEntry(call_done=worker.CallDone(**place, content=content)))
                call.state, call.content = run.Step.CALL_STATE_DONE, content
                self._tell_result(step.step_index, call.call_index, content, False)

    def _answer(self) -> str:
        asked = [part.text.text for said in self.messages if said.role == message.Message.ROLE_USER for part in said.parts]
        times = [call.content for step in self.steps for call in step.calls if call.state == run.Step.CALL_STATE_DONE]
        clock = f" It is {times[-1]}." if times else ""
        return f"You said {json.dumps(asked[-1] if asked else '', ensure_ascii=False)}.{clock}"

    def _speak(self, index: int, text: str, said: list):
        """Streams a text word by word, as a model would. `said` holds what was told, should the run be canceled here."""
        self.log.tell(events.RunEvent(step_started=events.StepStarted(step_index=index, model=MODEL)))
        for word in text.split(" "):
            self._check()
            word = word if not said else f" {word}"
            said.append(word)
            self.log.tell(events.RunEvent(text_delta=events.TextDelta(step_index=index, text=word)))
            time.sleep(WORD_SECONDS)
        return self._model_step(index, [_text("".join(said))])

    def _model_step(self, index: int, parts):
        usage = run.Usage(output_token_count=sum(len(part.text.text) // 4 for part in parts))
        result = worker.ModelStep(parts=parts, model=MODEL, finish_reason="stop", usage=usage)
        return worker.ModelStepEntry(step_index=index, result=result)

    # Telling followers.

    def _finished_event(self, index: int, result, path=""):
        finished = events.StepFinished(step_index=index, parts=result.parts, usage=result.usage, path=path)
        return events.RunEvent(step_finished=finished)

    def _result_event(self, step_index, call_index, content, is_error, path=""):
        place = {"path": path, "step_index": step_index, "call_index": call_index}
        return events.RunEvent(tool_call_finished=events.ToolCallFinished(content=content, is_error=is_error, **place))

    def _tell_result(self, *result):
        self.log.tell(self._result_event(*result))

    def _settle(self, started):
        """Steps that the log shows as open, or lacks, are told from the journal when that has them; others are void."""
        open_steps = [("", index) for index in started.open_step_indexes]
        open_steps += [(place.path, place.step_index) for place in started.open_branch_steps]
        for path, index in open_steps:
            if (path, index) in self.journal:
                yield from self._whole_step(self.journal[path, index])
            else:
                retracted = events.StepRetracted(step_index=index, path=path, reason="attempt lost")
                yield events.RunEvent(step_retracted=retracted)
        for place in started.open_calls:
            step = self.journal.get((place.path, place.step_index))
            if step and (place.path, place.step_index) not in open_steps:
                yield from self._results(step, [place.call_index])

    def _tell_anew(self):
        """The log lost events of this attempt: every journaled step again. The one under way is told whole at its end."""
        for step in list(self.steps):
            yield from self._whole_step(step)

    def _whole_step(self, step):
        yield self._finished_event(step.step_index, step.result, step.path)
        yield from self._results(step, [call.call_index for call in step.calls])

    def _results(self, step, call_indexes):
        ended = (run.Step.CALL_STATE_DONE, run.Step.CALL_STATE_FAILED)
        for call in step.calls:
            if call.call_index in call_indexes and call.state in ended:
                is_error = call.state == run.Step.CALL_STATE_FAILED
                yield self._result_event(step.step_index, call.call_index, call.content, is_error, step.path)

    # Talking to the mesh.

    def _read_context(self, context):
        """The whole journal, then the conversation from its newest message back until the model's window is full.

        A context that did not come along is not an empty one: it is too large.
        """
        if context is None:
            context = self._page("")
        self._take(context)
        while context.next_page_token and self._room() > 0:
            context = self._page(context.next_page_token)
            self._take(context)
        if context.next_page_token:
            self._leave_out_the_oldest_turn()

    def _room(self) -> int:
        """Bytes of the window that are left. The journal comes before the messages, so it is whole when there is none."""
        return WINDOW_BYTES - sum(said.ByteSize() for said in self.messages)

    def _leave_out_the_oldest_turn(self):
        """It may have been read in part. The run's own turn stays."""
        oldest, own = self.messages[0].turn_number, self.messages[-1].turn_number
        self.messages = [said for said in self.messages if said.turn_number != oldest or oldest == own]

    def _page(self, token: str):
        request = worker.GetRunContextRequest(lease=self.lease, page_token=token, wanted_bytes=self._room())
        return self._call(self.service.GetRunContext, request).context

    def _take(self, page):
        """A page of messages goes before the others. It may end within the message that the last one began in, as a page of the
        journal may begin within the step that the last one ended in."""
        older = list(page.messages)
        if older and self.messages and older[-1].message_id == self.messages[0].message_id:
            older[-1].parts.extend(self.messages.pop(0).parts)
        self.messages[:0] = older
        for step in page.steps:
            last = self.steps[-1] if self.steps else None
            if last and (last.path, last.step_index) == (step.path, step.step_index):
                last.calls.extend(step.calls)
            else:
                self.steps.append(step)

    def _record(self, *entries):
        request = worker.RecordStepRequest(lease=self.lease, entries=entries, acked=self.log.flush(0))
        answer = self._call(self.service.RecordStep, request)
        if answer.cancel_requested:
            self.cancel()
        return answer

    def _finish(self, outcome, last_step):
        request = worker.FinishRequest(
            lease=self.lease,
            outcome=outcome,
            last_step=last_step,
            last_step_unfinished=last_step is not None and outcome != worker.FinishRequest.OUTCOME_COMPLETED,
            # The end goes into the log behind these events, so it waits for them a little; with the log away it does not.
            acked=self.log.flush(1),
        )
        self._call(self.service.Finish, request)

    def _check(self):
        if self.dropped.is_set():
            raise Dropped
        if self.canceled.is_set():
            raise Canceled

    def _call(self, method, request):
        """A call under the lease. An exact repeat is answered as the first, so an unknown outcome is no problem."""
        pause = 0.1
        while not self.dropped.is_set():
            try:
                return method(request, timeout=CALL_SECONDS, metadata=self.metadata)
            except grpc.RpcError as error:
                if not is_transient(error):
                    # FENCED, RUN_FINISHED, STEP_CONFLICT, …: the attempt is over, whatever the reason.
                    print(f"{self.lease.run_id}: {reason(error)}: {error.details()}", flush=True)
                    raise Dropped from error
            self.dropped.wait(pause)
            pause = min(pause * 2, 2)
        raise Dropped


def _text(text: str):
    return message.Part(text=message.TextPart(text=text))
