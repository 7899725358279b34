// RunPod's JavaScript client against a local API: node endpoint.mjs BASE_URL WORKFLOW LONG_WORKFLOW
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The package lies where the test has installed it, which is the working directory.
const path = createRequire(process.cwd() + "/").resolve("runpod-sdk");
const runpodSdk = (await import(pathToFileURL(path))).default;

const [baseUrl, workflow, long] = process.argv.slice(2);
const endpoint = runpodSdk("any-key", { baseUrl }).endpoint("any-endpoint");
const input = (text) => ({ input: { workflow: JSON.parse(text) } });
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const seen = {};
console.log = () => {}; // The client prints each status.

seen.runSync = await endpoint.runSync(input(workflow));

const { id } = await endpoint.run(input(workflow));
do {
  seen.status = await endpoint.status(id);
} while (!seen.status.completed && (await sleep(50), true));
seen.stream = [];
for await (const part of endpoint.stream(id)) seen.stream.push(part);

const running = await endpoint.run(input(long));
const waiting = await endpoint.run(input(long));
while ((await endpoint.status(running.id)).status !== "IN_PROGRESS") await sleep(50);
seen.progress = await endpoint.status(running.id);
seen.health = await endpoint.health();
seen.purgeQueue = await endpoint.purgeQueue();
seen.purged = await endpoint.status(waiting.id);
seen.cancel = await endpoint.cancel(running.id);
seen.cancelled = await endpoint.statusSync(running.id);

process.stdout.write(JSON.stringify(seen));
