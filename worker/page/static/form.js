// The form: a card for each node, in the order in which nodes run, with the fields of its inputs. The cards light up
// while a job runs, and say what is wrong with their node.
import { h, byId, show } from '/page/dom.js'
import { makeField } from '/page/fields.js'

const FEW = 12 // Nodes with inputs that are all shown open.
const ALWAYS_OPEN = (input) => input.multiline || input.upload || /seed$/i.test(input.input)
const STATES = { done: 'done', running: 'running', failed: 'problem', idle: '' }

export class Form {
  // described: {nodes, inputs, error} as the API tells it. values: {set key: value} to begin with.
  constructor(described, values = {}) {
    this.cards = new Map()
    this.fields = []
    const list = byId('nodes')
    list.replaceChildren()
    const groups = Map.groupBy(described.inputs, (input) => input.node_id)
    const isShort = groups.size <= FEW
    for (const node of allNodes(described, groups)) {
      const fields = (groups.get(node.node_id) ?? []).map(makeField)
      const isOpen = isShort || fields.some((field) => ALWAYS_OPEN(field.input))
      const card = makeCard(node, fields, isOpen)
      this.cards.set(node.node_id, card)
      this.fields.push(...fields)
      list.append(card.element)
    }
    for (const field of this.fields) {
      if (field.input.set in values) field.set(values[field.input.set])
    }
    byId('filter').value = ''
    byId('filter').oninput = () => this.filter(byId('filter').value)
    byId('filter').hidden = this.cards.size < 6
  }

  // What a request sets: {set key: value}, those that differ from the workflow.
  values() {
    const changed = this.fields.map((field) => [field.input.set, field.value()])
    return Object.fromEntries(changed.filter(([, value]) => value !== undefined))
  }

  setValues(values) {
    for (const field of this.fields) field.set(field.input.set in values ? values[field.input.set] : field.input.default)
  }

  files() {
    return this.fields.flatMap((field) => field.files())
  }

  roll() {
    for (const field of this.fields) field.beforeRun?.()
  }

  // Shows what is wrong with fields, and goes to the first one. Returns whether nothing is.
  check() {
    this.clear()
    const wrong = this.fields.filter((field) => {
      const problem = field.problem()
      if (problem) field.show(problem)
      return problem
    })
    if (wrong.length) this.open(wrong[0].input.node_id, wrong[0].control)
    return wrong.length === 0
  }

  clear() {
    show(byId('form-problem'), null)
    for (const field of this.fields) field.show(null)
    for (const card of this.cards.values()) {
      show(card.problem, null)
      setState(card, 'idle')
    }
  }

  // Shows problems, as problems.js sorts them, at the nodes and fields that they belong to.
  showProblems({ byNode, byKey, rest }) {
    const others = [...rest]
    let first = null
    for (const [key, text] of Object.entries(byKey)) {
      const field = this.fields.find((one) => one.input.set === key)
      if (!field) { others.push(text); continue }
      field.show(text)
      setState(this.cards.get(field.input.node_id), 'failed')
      first ??= [field.input.node_id, field.control]
    }
    for (const [id, problems] of Object.entries(byNode)) {
      const card = this.cards.get(id)
      if (!card) {
        others.push(...problems.map(({ input, text }) => `Node ${id}${input ? `, ${input}` : ''}: ${text}`))
        continue
      }
      setState(card, 'failed')
      const [atField, atNode] = [[], []]
      for (const problem of problems) {
        const field = card.fields.find((one) => one.input.input === problem.input)
        if (field) { field.show(problem.text); atField.push(field) } else atNode.push(problem)
      }
      show(card.problem, atNode.map(({ input, text }) => (input ? `${input}: ${text}` : text)).join('\n'))
      first ??= [id, atField[0]?.control]
    }
    show(byId('form-problem'), others.join('\n'))
    if (first) this.open(...first)
  }

  open(id, control) {
    const { element } = this.cards.get(id)
    element.hidden = false
    const details = element.querySelector('details')
    if (details) details.open = true
    const target = control ?? element.querySelector('summary, .plain-node')
    target.focus({ preventScroll: true })
    element.scrollIntoView({ block: 'center' })
  }

  // done: ids of nodes. running: the id of one, or null.
  light(done, running) {
    const isDone = new Set(done)
    for (const [id, card] of this.cards) {
      const inner = (ids) => [...ids].some((one) => one.startsWith(`${id}:`))
      const runs = running === id || (card.isOuter && running?.startsWith(`${id}:`))
      setState(card, runs ? 'running' : isDone.has(id) || (card.isOuter && inner(isDone)) ? 'done' : 'idle')
    }
  }

  filter(text) {
    const wanted = text.trim().toLowerCase()
    for (const { element, words } of this.cards.values()) element.hidden = !words.includes(wanted)
  }
}

// The nodes, and before the first node of a subgraph the subgraph itself, if it shows inputs of its nodes.
function* allNodes({ nodes, inputs }, groups) {
  const known = new Set(nodes.map((node) => node.node_id))
  const outer = new Map()
  for (const input of inputs) if (!known.has(input.node_id)) outer.set(input.node_id, { ...input, class_type: '', isOuter: true })
  for (const node of nodes) {
    for (const [id, one] of outer) {
      if (node.node_id.startsWith(`${id}:`)) {
        outer.delete(id)
        yield one
      }
    }
    yield node
  }
  yield* outer.values()
}

function makeCard(node, fields, isOpen) {
  const state = h('span', { class: 'state' })
  const type = node.title === node.class_type ? '' : node.class_type
  const head = [
    h('span', { class: 'light', 'aria-hidden': 'true' }),
    h('span', { class: 'name' }, h('span', { class: 'title' }, node.title), ' ',
      h('span', { class: 'quiet' }, `${type} ${node.node_id}`.trim())),
    state,
  ]
  const problem = h('p', { class: 'problem', hidden: true })
  const body = fields.length
    ? h('details', { open: isOpen }, h('summary', {}, ...head), problem, h('div', { class: 'fields' }, fields.map((field) => field.element)))
    : h('div', { class: 'plain-node', tabindex: '-1' }, ...head, problem)
  const element = h('li', { class: 'node', 'data-state': 'idle', 'data-node': node.node_id }, body)
  const words = [node.title, node.class_type, node.node_id, ...fields.map((field) => field.input.input)].join(' ').toLowerCase()
  return { element, fields, problem, state, words, isOuter: node.isOuter === true }
}

function setState(card, state) {
  if (card.element.dataset.state === state) return
  card.element.dataset.state = state
  card.state.textContent = STATES[state]
}
