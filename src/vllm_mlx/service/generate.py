"""One request from prompt to events: the path every dialect and `LLM` share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from vllm_mlx.chat.detokenizer import Detokenizer
from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.clock import Clock
from vllm_mlx.core.errors import AppError, InvalidGrammar, error_from_code
from vllm_mlx.core.events import Completed, Event, Started, TextDelta, Timings, TokenLogprob, Usage
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.engine.wire import EngineRequest, TokenOutput
from vllm_mlx.parsing.formats.plain import FORMAT as PLAIN
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.service.choice import BoundTo, ChoiceStream, named_logprobs
from vllm_mlx.service.defaults import engine_request
from vllm_mlx.service.loaded import LoadedModel
from vllm_mlx.service.prompt import Prompt

_CONFIRM_EVERY = 16
"""Tokens of a text with stop strings after which the engine hears that they belong to it."""

_OUTPUTS_IN_A_ROW = 4
"""Outputs that are there already are taken without a pause; more in a row would keep health checks waiting
wherever an engine is faster than its front."""


async def generate(
    model: LoadedModel, request: GenerateRequest, *, clock: Clock
) -> AsyncGenerator[Event, None]:
    """Run a request on a loaded model; closing the generator aborts it at the next step.

    Yields:
        Events of all choices interleaved; `Completed` is the last.

    Raises:
        AppError: before the first event for a request that cannot be served, later if the engine fails.
    """
    arrived = clock()
    prompt = await model.prompts.build(request.input)
    grammar = await model.constrainer.grammar(request)
    # The caller's id is for logs; the engine needs one that no other request in flight has.
    unique_id = f"{request.request_id or 'req'}-{fresh_hex()}"
    sent = engine_request(model, request, prompt, unique_id, grammar=grammar)
    choices = [_choice_stream(model, request, prompt, sent, index) for index in range(sent.sampling.n)]
    first_token_at: float | None = None
    cached_tokens = 0
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    taken = 0
    async with aclosing(model.engine.submit(sent)) as outputs:
        async for output in outputs:
            taken += 1
            if taken % _OUTPUTS_IN_A_ROW == 0:
                await asyncio.sleep(0)
            if output.error is not None:
                raise _of_engine(output.error, request)
            choice = choices[output.choice]
            if choice.finished:
                continue  # already ended by a stop string; the engine had not heard yet
            if first_token_at is None:
                first_token_at = clock()
            if not choice.started:
                cached_tokens = max(cached_tokens, output.cached_tokens)
                choice.started = True
                if output.prompt_logprobs is not None:
                    prompt_logprobs = named_logprobs(model.tokenizer, output.prompt_logprobs)
                for event in _opening(prompt, output, prompt_logprobs):
                    yield event
            for event in _hear(model, sent, choice, output):
                yield event
            if all(each.finished for each in choices):
                break
    ended = clock()
    first_token_at = first_token_at if first_token_at is not None else ended
    yield Completed(
        usage=Usage(
            prompt_tokens=len(prompt.token_ids),
            completion_tokens=sum(each.completion_tokens for each in choices),
            cached_tokens=cached_tokens,
            marked_tokens=prompt.marked_tokens,
            reasoning_tokens=sum(each.reasoning_tokens for each in choices),
        ),
        timings=Timings(
            time_to_first_token_ms=(first_token_at - arrived) * 1e3,
            generation_time_ms=(ended - first_token_at) * 1e3,
        ),
    )


def _of_engine(error: tuple[str, str], request: GenerateRequest) -> AppError:
    """What an engine reports; it knows of a grammar, but not which field asked for it."""
    told = error_from_code(*error)
    if isinstance(told, InvalidGrammar):
        told.param = request.constraint_param if request.constraint is not None else "tools"
    return told


def _choice_stream(
    model: LoadedModel, request: GenerateRequest, prompt: Prompt, sent: EngineRequest, choice: int
) -> ChoiceStream:
    chat = request.input if isinstance(request.input, ChatInput) else None
    output_format = model.output_format if chat else PLAIN
    parser = OutputParser(
        output_format,
        choice,
        thinking=prompt.in_reasoning,
        tools=_tools(request) or None,
        has_form=request.constraint is not None,
    )
    return ChoiceStream(
        model.tokenizer,
        Detokenizer(model.tokenizer, visible=output_format.markers(), continues=chat is None),
        parser,
        sent.sampling.stop,
        model.judge.watch(_tools(request)),
        choice=choice,
        bound_to=_bound_to(request),
    )


def _bound_to(request: GenerateRequest) -> BoundTo:
    chat = request.input
    if isinstance(chat, ChatInput) and chat.tool_choice.mode in ("required", "named"):
        return "calls"
    return "form" if request.constraint is not None else "nothing"


def _tools(request: GenerateRequest) -> tuple[ToolSpec, ...]:
    """What may be called."""
    chat = request.input
    return tuple(chat.tools) if isinstance(chat, ChatInput) and chat.tool_choice.mode != "none" else ()


def _hear(model: LoadedModel, sent: EngineRequest, choice: ChoiceStream, output: TokenOutput) -> list[Event]:
    """What an output says; the engine hears what only the front can find out, thanks to stop strings."""
    events = choice.feed(output)
    if sent.sampling.stop and (choice.finished or choice.unconfirmed >= _CONFIRM_EVERY):
        model.engine.confirm(sent.request_id, choice.index, choice.take_unconfirmed())
    if choice.stopped_early:
        model.engine.abort(sent.request_id, choice=choice.index)
    return events


def _opening(prompt: Prompt, output: TokenOutput, logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
    """`Started`, and the prompt itself where the caller wants it back."""
    opening: list[Event] = [
        Started(output.choice, len(prompt.token_ids), output.cached_tokens, prompt.marked_tokens)
    ]
    if prompt.echo_text is not None:
        opening.append(TextDelta(output.choice, prompt.echo_text, logprobs))
    return opening
