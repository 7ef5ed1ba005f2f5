// Vercel's AI SDK: the task through its three providers that this server speaks to, whole and streamed.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.BASE_URL + "/v1";
const apiKey = "not-needed";
const providers = {
  chat: createOpenAICompatible({ name: "vllm-mlx", baseURL, apiKey, supportsStructuredOutputs: true }),
  responses: createOpenAI({ baseURL, apiKey }),
  messages: createAnthropic({ baseURL, apiKey }),
};
// By this name Anthropic's provider knows that the server takes schemas.
const models = { messages: "claude-sonnet-4-5" };
const closing_time = tool({
  description: "Tells when a place closes.",
  inputSchema: z.object({ place: z.string() }),
  execute: async ({ place }) => (place === "the harbour" ? "nine-4711" : `nobody knows ${place}`),
});

for (const [name, provider] of Object.entries(providers)) {
  const model = provider(models[name] ?? "default");
  const asked = {
    model,
    prompt: "When does the harbour close?",
    tools: { closing_time },
    stopWhen: stepCountIs(4),
    maxRetries: 0,
  };
  console.log(`${name}: ${(await generateText(asked)).text}`);
  const stream = streamText(asked);
  console.log(`${name} streamed: ${await stream.text}`);
  const { output } = await generateText({
    model,
    prompt: "Tell by the schema when the harbour closes.",
    output: Output.object({ schema: z.object({ sentence: z.string() }) }),
    maxRetries: 0,
  });
  console.log(`${name} schema: ${output.sentence}`);
}
