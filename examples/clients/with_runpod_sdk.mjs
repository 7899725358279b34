// Runs a ComfyUI workflow on an endpoint, with RunPod's SDK, and saves the results. See --help. Needs npm install.
import runpodSdk from "runpod-sdk";
import { API_KEY, ENDPOINT_URL, follow, readArguments } from "./files.mjs";

const TIMEOUT_MS = 60_000; // The SDK's default, 3 s, is too short for files.
const { input, folder } = await readArguments();
const at = ENDPOINT_URL.lastIndexOf("/");
const endpoint = runpodSdk(API_KEY, { baseUrl: ENDPOINT_URL.slice(0, at) }).endpoint(ENDPOINT_URL.slice(at + 1));
await follow(folder, {
  send: () => explained(endpoint.run({ input }, TIMEOUT_MS)),
  status: (id) => explained(endpoint.status(id, TIMEOUT_MS)),
  cancel: (id) => explained(endpoint.cancel(id)),
});

async function explained(request) {
  try {
    return await request;
  } catch (error) {
    const { status, data } = error.response ?? {};
    throw status ? new Error(`HTTP ${status}: ${data?.error ?? error.message}`) : error;
  }
}
