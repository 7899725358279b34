// A request as a program. The token is never in it, and files are read from where they are when it runs.
import { stringify } from '/page/json.js'

const KEYS = ['comfy_org_api_key', 'api_key_comfy_org']

// {curl, python, javascript} for the request {input}. files: the names of those whose content is read when it runs.
export function snippets(address, input, files, hasToken) {
  const plain = Object.fromEntries(Object.entries(input).filter(([name]) => !KEYS.includes(name)))
  const images = (plain.images ?? []).filter((image) => !files.includes(image.name))
  const request = { ...plain, images: [...images, ...files.map((name) => ({ name, image: mark(name) }))] }
  if (!request.images.length) delete request.images
  const about = { url: `${address}/runsync`, body: stringify({ input: request }, 2), files, hasToken }
  return { curl: curl(about), python: python(about), javascript: javascript(about) }
}

// Stands for the content of a file until the program's own way to read it is put there.
const mark = (name) => `@file:${name}`
const quotedMark = (name) => stringify(mark(name))

function curl({ url, body, files, hasToken }) {
  let text = body
  if (files.length) text = text.replace(/[\\$`]/g, '\\$&')
  for (const name of files) {
    const quoted = quotedMark(name).replace(/[\\$`]/g, '\\$&')
    text = text.replaceAll(quoted, () => `"$(base64 < ${shell(name)} | tr -d '\\n')"`)
  }
  return [
    `curl ${shell(url)} \\`,
    ...(hasToken ? ['  -H "Authorization: Bearer $LOCAL_API_TOKEN" \\'] : []),
    "  -H 'Content-Type: application/json' \\",
    `  --data-binary @- <<${files.length ? 'EOF' : "'EOF'"}`,
    text,
    'EOF',
  ].join('\n')
}

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

function python({ url, body, files, hasToken }) {
  let literal = asPython(body)
  for (const name of files) literal = literal.replaceAll(quotedMark(name), () => `read(${stringify(name)})`)
  return [
    'import base64',
    'import json',
    ...(hasToken ? ['import os'] : []),
    'import urllib.request',
    '',
    ...(files.length ? ['', 'def read(path):', '    with open(path, "rb") as file:', '        return base64.b64encode(file.read()).decode()', '', ''] : []),
    `body = ${literal}`,
    'headers = {"Content-Type": "application/json"}',
    ...(hasToken ? ['headers["Authorization"] = "Bearer " + os.environ["LOCAL_API_TOKEN"]'] : []),
    `request = urllib.request.Request(${stringify(url)}, json.dumps(body).encode(), headers)`,
    'with urllib.request.urlopen(request) as response:',
    '    answer = json.load(response)',
    'print(answer["status"], answer.get("error", ""))',
    'output = answer.get("output", {})',
    'for entry in output.get("images", []) + output.get("files", []):',
    '    if entry["type"] == "base64":',
    '        with open(entry["filename"], "wb") as file:',
    '            file.write(base64.b64decode(entry["data"]))',
    '    print(entry["filename"])',
  ].join('\n')
}

// JSON as Python writes it: only these three words differ, where they stand outside of texts.
const asPython = (json) => json.replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (part) => ({ true: 'True', false: 'False', null: 'None' })[part] ?? part)

function javascript({ url, body, files, hasToken }) {
  // Whole numbers beyond 2^53 lose digits as literals.
  let literal = body.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}/g, (part) => (part.startsWith('"') ? part : `JSON.rawJSON("${part}")`))
  for (const name of files) literal = literal.replaceAll(quotedMark(name), () => `await read(${stringify(name)})`)
  return [
    'import { readFile, writeFile } from "node:fs/promises";',
    '',
    ...(files.length ? ['const read = async (path) => (await readFile(path)).toString("base64");'] : []),
    `const body = ${literal};`,
    'const headers = { "Content-Type": "application/json" };',
    ...(hasToken ? ['headers.Authorization = `Bearer ${process.env.LOCAL_API_TOKEN}`;'] : []),
    `const response = await fetch(${stringify(url)}, { method: "POST", headers, body: JSON.stringify(body) });`,
    'const answer = await response.json();',
    'console.log(answer.status ?? response.status, answer.error ?? "");',
    'const { images = [], files = [] } = answer.output ?? {};',
    'for (const entry of [...images, ...files]) {',
    '  if (entry.type === "base64") await writeFile(entry.filename, Buffer.from(entry.data, "base64"));',
    '  console.log(entry.filename);',
    '}',
  ].join('\n')
}
