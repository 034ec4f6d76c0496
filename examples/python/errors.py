"""Reads the errors of runmesh: every status carries one ErrorInfo, and docs/errors.md says what to do about its reason."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Trying the very same call again may help.
TRANSIENT = {"UNAVAILABLE", "DRAINING", "OVERLOADED", "RATE_LIMIT", "DEADLINE_EXCEEDED"}


def reason(error: grpc.RpcError) -> str:
    """The reason, or the code's name when something between here and runmesh made the status."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # Details that belong to another status than this one.
        status = None
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "runmesh":
            return info.reason
    return error.code().name


def is_transient(error: grpc.RpcError) -> bool:
    """True when the same call may succeed a little later."""
    return reason(error) in TRANSIENT
