// Asks the local API. Everything needs the token where the worker has one: it is asked for once, and kept in the tab.
import { byId } from '/page/dom.js'
import { parse, stringify } from '/page/json.js'

const TOKEN = 'token'
const STATUS_MS = 20_000 // A large answer may take some seconds.
let asking = null

// What the API has answered in place of what was asked. status 0: it has not answered.
export class ApiError extends Error {
  constructor(status, text) {
    super(text)
    this.status = status
  }
}

export const needsToken = () => sessionStorage.getItem(TOKEN) !== null

export const namedWorkflows = () => call('GET', '/workflows')
export const namedWorkflow = (name) => call('GET', `/workflows/${encodeURIComponent(name)}`)
export const describe = (file) => call('POST', '/describe', file)
export const submit = (input) => call('POST', '/run', stringify({ input }))
export const status = (id) => call('GET', `/status/${encodeURIComponent(id)}?nodes=true`, undefined, STATUS_MS)
export const cancel = (id) => call('POST', `/cancel/${encodeURIComponent(id)}`)

async function call(method, path, body, longest) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN)
    const headers = token === null ? {} : { authorization: `Bearer ${asBytes(token)}` }
    let response, text
    try {
      response = await fetch(path, { method, body, headers, signal: longest ? AbortSignal.timeout(longest) : null })
      text = await response.text()
    } catch {
      throw new ApiError(0, 'The worker does not answer. Does it still run?')
    }
    if (response.status === 401) {
      await askForToken(token)
    } else if (response.ok) {
      return parse(text)
    } else {
      throw new ApiError(response.status, problem(text) ?? `The worker has answered with HTTP ${response.status}`)
    }
  }
}

function problem(text) {
  try {
    return JSON.parse(text).error
  } catch {
    return null
  }
}

// Headers take bytes. The worker reads UTF-8.
const asBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text))

function askForToken(tried) {
  if (sessionStorage.getItem(TOKEN) !== tried) return null // Another request has been told meanwhile.
  asking ??= new Promise((resolve) => {
    const dialog = byId('token')
    const field = byId('token-text')
    byId('token-problem').hidden = tried === null
    field.value = ''
    dialog.oncancel = (event) => event.preventDefault() // Nothing works without it.
    dialog.onclose = () => {
      sessionStorage.setItem(TOKEN, field.value)
      field.value = ''
      asking = null
      resolve()
    }
    dialog.showModal()
  })
  return asking
}
