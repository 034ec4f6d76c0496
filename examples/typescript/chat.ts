/**
 * Sends one message and follows the answer over gRPC-Web: over broken connections, without losing or repeating a word.
 *
 *     npm run --silent chat -- "tell me a story"
 *
 * Nothing here is Node's own but the command line: a browser runs the same code.
 */

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Answer } from "./answer.js";
import { isTransient, reason } from "./errors.js";
import { RunService, Run_State } from "./gen/runmesh/run/v1/run_service_pb.js";
import { End_Reason, StreamService } from "./gen/runmesh/stream/v1/stream_service_pb.js";
import { ThreadService } from "./gen/runmesh/thread/v1/thread_service_pb.js";

const CALL_MS = 10_000;
const TRIES = 8;

const pause = (failures: number) => new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** failures, 3_000)));

/** A call that changes something. Its idempotency key makes a repeat harmless, so an unknown outcome is no problem. */
async function retried<T>(call: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await call();
    } catch (error) {
      if (failures >= TRIES || !isTransient(error)) {
        throw error;
      }
      await pause(failures);
    }
  }
}

/** What following a run leaves: its answer, and how often it came back to it. */
interface Followed {
  answer: Answer;
  returns: number;
}

/** Follows a run to its end. `breakAfter` hangs up after so many frames; 0 never does. */
async function follow(service: Client<typeof StreamService>, runId: string, start: string, breakAfter: number): Promise<Followed> {
  let cursor = start;
  let answer = new Answer();
  let failures = 0;
  for (let returns = 0; ; returns += 1) {
    // A snapshot that did not come whole is void.
    let building = new Answer();
    let frames = 0;
    const stop = new AbortController();
    try {
      const request = { runId, from: { case: "cursor" as const, value: cursor } };
      for await (const { frame } of service.attachRun(request, { signal: stop.signal })) {
        failures = 0;
        frames += 1;
        if (frame.case === "events") {
          answer.add(frame.value);
          cursor = frame.value.cursor;
        } else if (frame.case === "snapshot") {
          building.addSnapshot(frame.value);
          if (frame.value.complete) {
            [answer, building] = [building, new Answer()];
            cursor = frame.value.cursor;
          }
        } else if (frame.case === "reset") {
          // What was shown is void; a snapshot follows.
          answer = new Answer();
        } else if (frame.case === "end" && frame.value.reason === End_Reason.FINISHED) {
          return { answer, returns };
        }
        if (breakAfter > 0 && frames >= breakAfter) {
          break;
        }
      }
    } catch (error) {
      failures += 1;
      if (failures >= TRIES || !isTransient(error)) {
        throw error;
      }
      await pause(failures);
    } finally {
      stop.abort();
    }
  }
}

async function main(): Promise<number> {
  const options = {
    address: { type: "string", default: "http://127.0.0.1:7420" },
    agent: { type: "string", default: "" },
    "break-after": { type: "string", default: "0" },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [words] = positionals;
  if (words === undefined) {
    console.error("usage: chat [--address URL] [--agent NAME] [--break-after FRAMES] TEXT");
    return 2;
  }
  const baseUrl = values.address ?? "";
  const transport = createGrpcWebTransport({ baseUrl });
  const within = () => ({ timeoutMs: CALL_MS });

  const opening = { idempotencyKey: randomUUID(), agent: values.agent ?? "" };
  const { thread } = await retried(() => createClient(ThreadService, transport).createThread(opening, within()));
  const message = {
    idempotencyKey: randomUUID(),
    threadId: thread?.threadId ?? "",
    parts: [{ content: { case: "text" as const, value: { text: words } } }],
  };
  const sent = await retried(() => createClient(RunService, transport).sendMessage(message, within()));
  const breakAfter = Number(values["break-after"]);
  const { answer, returns } = await follow(createClient(StreamService, transport), sent.runId, sent.cursor, breakAfter);

  const state = answer.finished?.state ?? Run_State.UNSPECIFIED;
  console.log(answer.text());
  console.error(`${sent.runId} ${Run_State[state]} returns=${returns} ${answer.finished?.reason ?? ""}`.trimEnd());
  return state === Run_State.COMPLETED ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`${reason(error)}: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
