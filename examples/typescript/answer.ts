/** What a run has said, folded from its events. The same fold works in a browser. */

import type { RunEvent, RunFinished } from "./gen/runmesh/stream/v1/event_pb.js";
import type { Events, Snapshot } from "./gen/runmesh/stream/v1/stream_service_pb.js";
import type { Part } from "./gen/runmesh/thread/v1/message_pb.js";

function text(parts: readonly Part[]): string {
  return parts.map((part) => (part.content.case === "text" ? part.content.value.text : "")).join("");
}

/** Steps with a path are of branches: what they say is part of a tool's result, not of the answer. */
export class Answer {
  private readonly steps = new Map<number, string>();
  private chain: bigint | undefined;
  finished: RunFinished | undefined;

  /** Adds a part of a snapshot; a step whose text is larger than a frame comes in several pieces. */
  addSnapshot(part: Snapshot): void {
    for (const step of part.steps.filter((step) => step.path === "")) {
      this.steps.set(step.stepIndex, (this.steps.get(step.stepIndex) ?? "") + step.text);
    }
    this.chain = part.chain;
    this.finished = part.finished ?? this.finished;
  }

  /** Adds events. The rolling hash says that they follow those held: none is missing, none comes twice. */
  add(events: Events): void {
    if (this.chain !== undefined && this.chain !== events.chainBefore) {
      throw new Error(`the events from ${events.firstSeq} on do not follow what was seen before`);
    }
    for (const event of events.events) {
      this.apply(event);
    }
    this.chain = events.chainAfter;
  }

  private apply({ kind }: RunEvent): void {
    if (kind.value !== undefined && "path" in kind.value && kind.value.path !== "") {
      return;
    }
    switch (kind.case) {
      case "stepStarted":
        this.steps.set(kind.value.stepIndex, "");
        break;
      case "textDelta":
        this.steps.set(kind.value.stepIndex, (this.steps.get(kind.value.stepIndex) ?? "") + kind.value.text);
        break;
      case "stepRetracted":
        this.steps.delete(kind.value.stepIndex);
        break;
      case "stepFinished":
        this.steps.set(kind.value.stepIndex, text(kind.value.parts));
        break;
      case "logRestarted":
        this.steps.clear();
        break;
      case "runFinished":
        this.finished = kind.value;
        break;
      default:
        // Kinds that this client does not show, or does not know yet.
        break;
    }
  }

  /** The message as stored, once the run is over; until then what the steps have said. */
  text(): string {
    if (this.finished) {
      return text(this.finished.message?.parts ?? []);
    }
    return [...this.steps].sort(([a], [b]) => a - b).map(([, said]) => said).join("");
  }
}
