/** Reads the errors of runmesh: every status carries one ErrorInfo, and docs/errors.md says what to do about its reason. */

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "./gen/google/rpc/error_info_pb.js";

/** Trying the very same call again may help. */
const TRANSIENT = new Set(["UNAVAILABLE", "DRAINING", "OVERLOADED", "RATE_LIMIT", "DEADLINE_EXCEEDED"]);

/** The reason, or the code when something between here and runmesh made the status. */
export function reason(error: unknown): string {
  const status = ConnectError.from(error, Code.Unavailable);
  if (status.cause instanceof TypeError) {
    // What fetch throws when there is no answer at all.
    return "UNAVAILABLE";
  }
  const info = status.findDetails(ErrorInfoSchema).find(({ domain }) => domain === "runmesh");
  return info?.reason ?? Code[status.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** True when the same call may succeed a little later. */
export function isTransient(error: unknown): boolean {
  return TRANSIENT.has(reason(error));
}
