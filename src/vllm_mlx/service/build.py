"""The composition root: from settings to a service. Nothing else joins text, engine and model."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.config import Config, InvalidSetting, McpConfig, ModelConfig
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import InvalidRequest, ModelLoadError
from vllm_mlx.core.sampling import NEUTRAL, SamplingParams
from vllm_mlx.engine.client import EngineClient
from vllm_mlx.engine.engine import InProcessEngine
from vllm_mlx.engine.frames import Launch
from vllm_mlx.engine.process import ProcessEngine
from vllm_mlx.mcp.config import BadMcpConfig, read_config
from vllm_mlx.mcp.manager import McpManager
from vllm_mlx.models.manifest import ModelManifest, read_manifest
from vllm_mlx.models.source import made_at, resolve_model
from vllm_mlx.parsing.detect import Chosen, check_names, choose_format
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.write import write_calls
from vllm_mlx.runners.base import Runner
from vllm_mlx.runners.build import build_runner
from vllm_mlx.service.constrain import Constrainer
from vllm_mlx.service.hub import Hub
from vllm_mlx.service.judge import CallJudge
from vllm_mlx.service.loaded import GenerationLimits, LoadedModel
from vllm_mlx.service.port import ModelCard
from vllm_mlx.service.prompt import PromptBuilder
from vllm_mlx.service.tool_loop import LoopLimits, ToolLoop
from vllm_mlx.structured.checking import Names

log = logging.getLogger(__name__)

RunnerFactory = Callable[[], Runner]


def build_service(
    config: Config, *, runner_factory: RunnerFactory | None = None, clock: Clock = system_clock
) -> Hub:
    """A service that loads its model once `start` is called.

    Args:
        runner_factory: makes the runner on the engine's thread, in this process; the model's own one if None.

    Raises:
        InvalidSetting: no output format has the name that a parser's flag gives.
    """
    check_names(config.model.tool_call_parser, config.model.reasoning_parser)
    root = display_name(config.model.model)
    names = config.model.served_model_name or (root,)
    created = made_at(config.model.model) or int(time.time())
    card = ModelCard(id=names[0], created=created, root=root, max_model_len=None)

    async def load() -> LoadedModel:
        folder = await asyncio.to_thread(resolve_model, config.model.model, offline=config.model.offline)
        return await load_model(config, folder, card, _engine(config, folder, runner_factory, clock))

    return Hub(card, load, names=names, strict=config.model.strict_model_id, clock=clock)


def _engine(config: Config, folder: Path, runner_factory: RunnerFactory | None, clock: Clock) -> EngineClient:
    """A function cannot be sent to another process: an engine with one of its own runs here."""
    if config.engine.engine_process and runner_factory is None:
        launch = Launch(
            folder=str(folder),
            model=config.model,
            engine=config.engine,
            cache=config.cache,
            log_level=logging.getLogger().getEffectiveLevel(),
        )
        return ProcessEngine(launch, clock=clock)
    factory = runner_factory or (lambda: build_runner(folder, config.model, config.engine, config.cache))
    return InProcessEngine(factory, config.engine, config.cache, clock, folder=folder)


async def load_model(config: Config, folder: Path, card: ModelCard, engine: EngineClient) -> LoadedModel:
    """Load the text side beside the engine and join them.

    Raises:
        ModelLoadError: either cannot be loaded; neither is left running.
    """
    try:
        (manifest, tokenizer), info = await asyncio.gather(
            asyncio.to_thread(_load_text, folder), engine.start()
        )
        chosen = _chosen(config.model, manifest, tokenizer)
    except BaseException:
        await engine.aclose()
        raise
    output_format = chosen.format
    template = _template(tokenizer, output_format, card.id)
    template_defaults = json.loads(config.model.default_chat_template_kwargs or "{}")
    return LoadedModel(
        card=ModelCard(id=card.id, created=card.created, root=card.root, max_model_len=info.max_model_len),
        tokenizer=tokenizer,
        prompts=PromptBuilder(
            tokenizer,
            template,
            vocab_size=info.vocab_size,
            context_tokens=min(info.max_model_len, info.kv_capacity_tokens),
            template_defaults=template_defaults,
            max_pending=config.engine.max_queue,
        ),
        constrainer=Constrainer(
            chosen.format,
            Names.of(tokenizer.special_tokens, info.vocab_size),
            max_pending=config.engine.max_queue,
        ),
        judge=CallJudge(),
        chosen=chosen,
        engine=engine,
        info=info,
        defaults=sampling_defaults(config.model, manifest),
        eos_ids=eos_ids(manifest, tokenizer, output_format),
        limits=GenerationLimits(
            max_tokens=config.model.max_tokens,
            max_request_tokens=config.model.max_request_tokens,
            timeout_s=config.engine.timeout,
            thinking_tokens=config.model.default_thinking_token_budget,
        ),
    )


def _chosen(config: ModelConfig, manifest: ModelManifest, tokenizer: Tokenizer) -> Chosen:
    """The model's format; what does not go with it is known only now.

    Raises:
        ModelLoadError: `--reasoning-parser` does not.
    """
    try:
        return choose_format(
            tokenizer.chat_template(tools=True),
            manifest.model_type,
            tool_call_parser=config.tool_call_parser,
            reasoning_parser=config.reasoning_parser,
        )
    except InvalidSetting as error:
        raise ModelLoadError(f"--{error.name.replace('_', '-')} {error.problem}") from None


def _template(tokenizer: Tokenizer, output_format: OutputFormat, model_id: str) -> ChatTemplate:
    """The chat template, which is told how the model writes; a word in the log where it hides tools."""
    think = output_format.reasoning
    if not output_format.calls and "tools" not in (tokenizer.chat_template(tools=True) or "tools"):
        log.warning(
            "the chat template of %s shows no tools and no way of calling them: requests with tools get "
            "answers without calls; --tool-call-parser generic describes them to the model",
            model_id,
        )
    return ChatTemplate(
        tokenizer,
        (think.open, think.close) if think is not None else None,
        partial(write_calls, output_format.calls[0]) if output_format.calls else None,
    )


def eos_ids(manifest: ModelManifest, tokenizer: Tokenizer, output_format: OutputFormat) -> tuple[int, ...]:
    """What ends a turn by the model's files, and by its output format where the files forget it."""
    stops = (tokenizer.added_id(stop) for stop in output_format.stops)
    known = (token_id for token_id in stops if token_id is not None)
    return tuple(dict.fromkeys((*manifest.eos_ids, *tokenizer.eos_ids, *known)))


def build_tool_loop(
    config: McpConfig, environment: Mapping[str, str], *, clock: Clock = system_clock
) -> ToolLoop | None:
    """The tools of the configured MCP servers; None without a configuration, and nothing is imported then.

    Raises:
        BadMcpConfig: the file cannot be used, or is missing where tools shall always be offered.
    """
    if config.mcp_config is None:
        if config.mcp_auto_execute:
            raise BadMcpConfig("--mcp-auto-execute needs --mcp-config, the file with the servers")
        return None
    servers = read_config(Path(config.mcp_config).expanduser(), environment)
    limits = LoopLimits(
        max_turns=config.mcp_max_turns,
        max_seconds=config.mcp_max_seconds,
        max_result_bytes=config.mcp_max_result_kb * 1024,
    )
    return ToolLoop(McpManager(servers, clock=clock), limits, always=config.mcp_auto_execute, clock=clock)


def display_name(model: str) -> str:
    """The name a model is served by: a Hugging Face id as it is, a folder by its last part.

    Clients see it, so it never tells where the folder lies.
    """
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() or path.is_absolute() else model


def sampling_defaults(model: ModelConfig, manifest: ModelManifest) -> SamplingParams:
    """The command line's defaults before the model's own, and OpenAI's where both are silent."""
    told: dict[str, Any] = {
        name: getattr(model, f"default_{name}")
        for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")
    }
    try:
        return SamplingParams(**told).resolve(manifest.generation_defaults).resolve(NEUTRAL)
    except InvalidRequest as error:
        raise InvalidRequest(f"--default-{error.param}: {error.message}") from error


def _load_text(folder: Path) -> tuple[ModelManifest, Tokenizer]:
    return read_manifest(folder), Tokenizer.load(folder)
