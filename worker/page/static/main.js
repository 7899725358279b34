// The workbench: chooses a workflow, sets its inputs, runs it, and shows what comes of it.
import { cancel, needsToken, submit } from '/page/api.js'
import { compareRuns } from '/page/compare.js'
import { byId, show, tell } from '/page/dom.js'
import { encoded } from '/page/file_field.js'
import { follow } from '/page/follow.js'
import { Form } from '/page/form.js'
import { sorted } from '/page/problems.js'
import { showRequest } from '/page/request.js'
import { Run, described as progressLine } from '/page/runs.js'
import { byName, offerWorkflows } from '/page/source.js'
import { load, save } from '/page/store.js'
import { offerThemes } from '/page/theme.js'

const FINAL = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT']
const MOST_RUNS = 50
let workflow = null // {title, name, described}
let form = null
let runs = [] // The newest first.
let marked = [] // Those to compare.

function open(chosen, values = {}) {
  if (!chosen) return
  workflow = chosen
  form = new Form(chosen.described, values)
  byId('form').hidden = byId('bar').hidden = false
  byId('form-title').textContent = chosen.title
  byId('bar-text').textContent = `${chosen.described.nodes.length} nodes`
  if (chosen.described.error) form.showProblems(sorted([chosen.described.error]))
  keep()
}

// The input of the request for what the form shows. Files are {name, file}, or {name, image} in what is sent.
function request() {
  const { input } = workflow.described
  const values = form.values()
  const set = { ...input.set, ...values }
  return { values, input: { ...input, ...(Object.keys(set).length ? { set } : {}) }, files: form.files() }
}

async function run() {
  if (!form || byId('run').disabled) return
  form.roll()
  if (!form.check()) return
  byId('run').disabled = true
  try {
    const { values, input, files } = request()
    const sent = await Promise.all(files.map(async ({ name, file }) => ({ name, image: await encoded(file) })))
    const names = sent.map((image) => image.name)
    const images = [...(input.images ?? []).filter((image) => !names.includes(image.name)), ...sent]
    const { id } = await submit({ ...input, ...(images.length ? { images } : {}) })
    const record = { id, title: workflow.title, values, input, files: names, began: Date.now() }
    tell('Sent')
    const added = add(record)
    followRun(added)
    if (matchMedia('(max-width: 820px)').matches) added.element.scrollIntoView({ block: 'start' })
    keep()
  } catch (error) {
    show(byId('form-problem'), error.message)
    byId('form-problem').scrollIntoView({ block: 'center' })
  } finally {
    byId('run').disabled = false
  }
}

function add(record) {
  const made = new Run(record, {
    compare: mark,
    copy: (one) => showRequest(one.record.input, one.record.files, needsToken()),
    reuse,
    stop,
    remove: (one) => {
      runs = runs.filter((other) => other !== one)
      marked = marked.filter((other) => other !== one)
      byId('no-results').hidden = runs.length > 0
      keep()
    },
  })
  runs.unshift(made)
  for (const old of runs.splice(MOST_RUNS)) old.free()
  byId('no-results').hidden = true
  byId('runs').prepend(made.element)
  return made
}

function reuse(one) {
  if (workflow?.title === one.record.title) form.setValues(one.record.values)
  else tell(byId('bar-text').textContent = `These values are for ${one.record.title}: open it first`)
}

// Whether the form is that of the newest run.
const isShown = (one) => one === runs[0] && workflow?.title === one.record.title

async function followRun(one) {
  let node = null
  await follow(one.record.id, (seen) => {
    one.update(seen)
    if (one !== runs[0]) return
    showBar(seen)
    const { done_nodes: done = [], node_id: running = null, title } = seen.output ?? {}
    if (seen.status === 'IN_PROGRESS' && !seen.lost && isShown(one)) form.light(done, running)
    if (running !== null && running !== node) tell(title ?? seen.output.message)
    node = running
  })
  if (!isShown(one)) return
  form.light(one.status === 'COMPLETED' ? workflow.described.nodes.map((node) => node.node_id) : [], null)
  form.showProblems(one.problems)
}

function showBar(seen) {
  const isOver = FINAL.includes(seen.status)
  const { output } = seen
  byId('bar-progress').hidden = byId('cancel').hidden = isOver
  byId('cancel').disabled = false
  byId('bar-progress').value = output?.percent ?? 0
  byId('bar-text').textContent = isOver ? runs[0].badge.textContent : seen.lost ?? progressLine(output) ?? 'Waiting for its turn'
}

async function stop(one) {
  byId('cancel').disabled = one === runs[0]
  try {
    await cancel(one.record.id)
  } catch (error) {
    show(byId('form-problem'), error.message)
  }
}

function mark(one) {
  marked = marked.includes(one) ? marked.filter((other) => other !== one) : [...marked, one]
  if (marked.length < 2) return
  const [first, second] = marked
  marked = []
  compareRuns(first, second, () => [first, second].forEach((each) => each.unmark()))
}

// A reload finds all of this again. Large requests have no room: their runs go on, but cannot be copied afterwards.
function keep() {
  const records = runs.map(({ record }) => record)
  if (!save('runs', records)) save('runs', records.map((record) => ({ ...record, input: null })))
  if (!form) return
  const { title, name, described } = workflow
  save('workflow', { title, name, described: name === null ? described : null, values: form.values() })
}

async function restore() {
  for (const record of (load('runs') ?? []).reverse()) followRun(add(record))
  const kept = load('workflow')
  if (!kept) return
  try {
    open(kept.name === null ? kept : await byName(kept.name), kept.values)
    if (kept.name !== null) byId('names').value = kept.name
  } catch (error) {
    show(byId('source-problem'), error.message)
  }
}

byId('form').addEventListener('submit', (event) => { event.preventDefault(); run() })
byId('form').addEventListener('change', keep)
byId('cancel').addEventListener('click', () => stop(runs[0]))
byId('copy').addEventListener('click', () => {
  const { input, files } = request()
  showRequest(input, files.map(({ name }) => name), needsToken())
})
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !document.querySelector('dialog[open]')) {
    event.preventDefault()
    run()
  }
})
offerThemes(byId('theme'))
await offerWorkflows((chosen) => open(chosen))
await restore()
