// Runs a ComfyUI workflow on an endpoint, with Node's own fetch, and saves the results. See --help.
import { API_KEY, ENDPOINT_URL, follow, readArguments } from "./files.mjs";

const { input, folder } = await readArguments();
await follow(folder, {
  send: () => call("POST", "run", { input }),
  status: (id) => call("GET", `status/${id}`),
  cancel: (id) => call("POST", `cancel/${id}`),
});

async function call(method, path, body) {
  const response = await fetch(`${ENDPOINT_URL}/${path}`, {
    method,
    headers: { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  throw new Error(`HTTP ${response.status}: ${reason(text)}`);
}

function reason(text) {
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.slice(0, 500);
  }
}
