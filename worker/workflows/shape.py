"""The shapes of what the API tells about workflows, which the OpenAPI document describes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

# TypedDict comes from typing_extensions, since Python 3.11's own forgets what is not required.


class SettableInput(TypedDict):
    """An input of a workflow that `set` can change."""

    set: Annotated[str, Field(description="Its key in `set`")]
    node_id: Annotated[str, Field(description="Its node; `set` takes the id in place of the title")]
    class_type: Annotated[str, Field(description="The class of its node")]
    title: Annotated[str, Field(description="The title of its node")]
    input: Annotated[str, Field(description="Its name")]
    type: Annotated[str, Field(description="`INT`, `FLOAT`, `STRING`, `BOOLEAN`, `COMBO` or another; `*`: not known")]
    default: NotRequired[Annotated[Any, Field(description="The value that it has if the request sets none")]]
    min: NotRequired[Annotated[float, Field(description="The least number that it takes")]]
    max: NotRequired[Annotated[float, Field(description="The greatest number that it takes")]]
    step: NotRequired[Annotated[float, Field(description="The step of the editor's buttons")]]
    choices: NotRequired[Annotated[list[Any], Field(description="What it takes, if it is one of several")]]
    multiline: NotRequired[Annotated[Literal[True], Field(description="It is a text of several lines")]]
    upload: NotRequired[Annotated[Literal[True], Field(description="It takes the name of a file in `images`")]]


class ListedNode(TypedDict):
    """A node of a workflow as it runs, after those that it gets something from."""

    node_id: Annotated[str, Field(description="Its id, as in progress and in errors")]
    class_type: Annotated[str, Field(description="Its class")]
    title: Annotated[str, Field(description="Its title")]


class NamedWorkflow(TypedDict):
    """A workflow that requests run by its name."""

    name: Annotated[str, Field(description="What `workflow` of a request takes")]
    inputs: NotRequired[Annotated[list[SettableInput], Field(description="What `set` can change")]]
    nodes: NotRequired[Annotated[list[ListedNode], Field(description="Its nodes, if it is asked for by its name")]]
    error: NotRequired[Annotated[str, Field(description="Why it cannot run")]]


class NamedWorkflows(TypedDict):
    """The workflows that requests run by name."""

    workflows: list[NamedWorkflow]


class DescribedWorkflow(TypedDict):
    """What is in a workflow file."""

    input: Annotated[dict[str, Any], Field(description="The `input` of a request that runs it")]
    nodes: Annotated[list[ListedNode], Field(description="Its nodes")]
    inputs: Annotated[list[SettableInput], Field(description="What `set` can change")]
    error: NotRequired[Annotated[str, Field(description="Why it cannot run here, such as a missing node class")]]
