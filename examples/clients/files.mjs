// The common part of the JavaScript clients: their arguments, and the files of a request and of an answer.
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

export const ENDPOINT_URL = (process.env.ENDPOINT_URL || "http://localhost:8000/v2/local").replace(/\/+$/, "");
export const API_KEY = process.env.RUNPOD_API_KEY || "none";
const FINAL = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];
const USAGE = `usage: node ${process.argv[1]} WORKFLOW.json FOLDER [NAME=FILE ...]

  WORKFLOW.json    from ComfyUI's Workflow (or File) > Export (API)
  FOLDER           where the results go; made if it is missing
  NAME=FILE        a file that the workflow loads, by its name there

environment:
  ENDPOINT_URL     https://api.runpod.ai/v2/<endpoint>; default: http://localhost:8000/v2/local, for scripts/serve
  RUNPOD_API_KEY   RunPod's API key, or the LOCAL_API_TOKEN of a local server that has one

example:
  node ${process.argv[1]} examples/scale.json results in.png=photo.png
`;

/** The job's `input`, and the folder for its results. Wrong arguments end the program with 2. */
export async function readArguments() {
  const [workflow, folder, ...images] = process.argv.slice(2);
  if (process.argv.slice(2).some((argument) => argument === "-h" || argument === "--help")) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  try {
    if (!folder) throw new Error("WORKFLOW.json and FOLDER are needed: see --help");
    const input = { workflow: JSON.parse(await readFile(workflow, "utf8")), images: await Promise.all(images.map(image)) };
    await mkdir(folder, { recursive: true });
    return { input, folder };
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

async function image(argument) {
  const at = argument.indexOf("=");
  if (at < 0) throw new Error(`'${argument}' is no NAME=FILE`);
  return { name: argument.slice(0, at), image: (await readFile(argument.slice(at + 1))).toString("base64") };
}

/** Run `send`, ask `status` once a second until the job has ended, and save the results. Ctrl-C calls `cancel`. */
export async function follow(folder, { send, status, cancel }) {
  try {
    let job = await send();
    const { id } = job;
    process.once("SIGINT", () => cancel(id).finally(() => process.exit(130)));
    while (!FINAL.includes(job.status)) {
      show(job);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      job = await status(id);
    }
    process.exit(await finish(job, folder));
  } catch (error) {
    console.error(`${ENDPOINT_URL}: ${error.cause?.message || error.message}`);
    process.exit(1);
  }
}

function show({ status, output }) {
  const where = output?.percent === undefined ? "" : ` ${output.percent.toFixed(0)} % ${output.message}`;
  console.error(status + where);
}

async function finish({ status, error, ...job }, folder) {
  const output = job.output ?? {};
  for (const line of [...(output.errors ?? []), ...(output.details ?? []), ...(output.warnings ?? [])]) console.error(line);
  if (status !== "COMPLETED") {
    console.error(`${status}: ${error ?? "the job gave nothing"}`);
    return 1;
  }
  for (const entry of [...(output.images ?? []), ...(output.files ?? [])]) {
    const file = await free(path.join(folder, path.basename(entry.filename) || "output"));
    await writeFile(file, await content(entry));
    console.log(file);
  }
  for (const text of output.text ?? []) console.error(`node ${text.node_id}: ${text.text}`);
  return 0;
}

async function content({ type, data }) {
  if (type === "base64") return Buffer.from(data, "base64");
  const response = await fetch(data); // The URL is presigned: it needs no API key.
  if (!response.ok) throw new Error(`HTTP ${response.status} for a file in the bucket`);
  return Buffer.from(await response.arrayBuffer());
}

/** `file`, or the same with a number if there is a file already, so that nothing is overwritten. */
async function free(file) {
  const { dir, name, ext } = path.parse(file);
  for (let count = 1, candidate = file; ; candidate = path.join(dir, `${name}-${++count}${ext}`)) {
    if (!(await access(candidate).then(() => true, () => false))) return candidate;
  }
}
