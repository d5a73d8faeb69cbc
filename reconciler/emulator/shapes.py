"""What an object of each kind shows besides its id, its parent and its map: one row per kind.

The properties are those of the OpenAI API description and, for the agents API, of the types of the official client
3.54: every one that is required there. What they hold is made up, always the same, and the least that the
description allows: of an object, this stand-in keeps when it was created and its map.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Shape:
    """One row.

    `created` is what the time of the creation is called, `times` are other properties that show the same time, and
    `properties` all that is left. `deleted_id` is what the answer to a deletion calls the id. `descending`: lists begin
    with the youngest where nothing is said of their order.
    """

    properties: Mapping[str, object] = dataclasses.field(default_factory=lambda: _NOTHING)
    times: tuple[str, ...] = ()
    created: str = "created_at"
    deleted_id: str = "id"
    descending: bool = True


_MODEL = "emulated"
_AGENT: Mapping[str, object] = MappingProxyType(
    {
        "instructions": None,
        "model": _MODEL,
        "multi_agent": {"enabled": False, "max_concurrent_subagents": None},
        "name": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tools": [],
    }
)
"""What an agent is made of: its own properties, and a part of each of its sessions."""

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "thread": Shape({"tool_resources": None}),
        "message": Shape(
            {
                "status": "completed",
                "incomplete_details": None,
                "incomplete_at": None,
                "role": "user",
                "content": [{"type": "text", "text": {"value": "Emulated.", "annotations": []}}],
                "assistant_id": None,
                "run_id": None,
                "attachments": [],
            },
            times=("completed_at",),
        ),
        "run": Shape(
            {
                "assistant_id": "asst_emulated",
                "status": "completed",
                "required_action": None,
                "last_error": None,
                "expires_at": None,
                "cancelled_at": None,
                "failed_at": None,
                "incomplete_details": None,
                "model": _MODEL,
                "instructions": "",
                "tools": [],
                "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
                "max_prompt_tokens": None,
                "max_completion_tokens": None,
                "truncation_strategy": {"type": "auto", "last_messages": None},
                "tool_choice": "auto",
                "parallel_tool_calls": True,
                "response_format": "auto",
            },
            times=("started_at", "completed_at"),
        ),
        "assistant": Shape({"name": None, "description": None, "model": _MODEL, "instructions": None, "tools": []}),
        "conversation": Shape(),
        "chat_completion": Shape(
            {
                "model": _MODEL,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "logprobs": None,
                        "message": {"role": "assistant", "content": "Emulated.", "refusal": None},
                    }
                ],
                "usage": {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0},
            },
            created="created",
            descending=False,
        ),
        "vector_store": Shape(
            {
                "name": "",
                "usage_bytes": 0,
                "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
                "status": "completed",
            },
            times=("last_active_at",),
        ),
        "vector_store_file": Shape({"usage_bytes": 0, "status": "completed", "last_error": None}),
        "eval": Shape(
            {"name": "", "data_source_config": {"type": "custom", "schema": {}}, "testing_criteria": []},
            deleted_id="eval_id",
            descending=False,
        ),
        "agent": Shape(_AGENT, times=("updated_at",)),
        "agent_session": Shape(
            {
                "agent": {"id": "agent_emulated", **_AGENT},
                "environment": {"type": "none"},
                "error": None,
                "required_actions": [],
                "status": "idle",
                "usage": None,
                "vault_ids": [],
            },
            times=("last_active_at",),
        ),
        "vault": Shape({"name": None}),
        "vault_credential": Shape(
            {
                "name": "",
                "auth": {
                    "type": "environment_variable",
                    "secret_name": "EMULATED",
                    "networking": {"type": "unrestricted"},
                },
            },
            times=("updated_at",),
        ),
        "automation": Shape(
            {
                "name": "",
                "type": "once",
                "status": "completed",
                "created_by": {"type": "developer"},
                "target": {"type": "existing_session", "session_id": "session_emulated", "instructions": ""},
            },
            times=("run_at",),
        ),
    }
)
"""Rows by the name of the kind."""
