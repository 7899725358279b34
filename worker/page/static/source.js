// Where the workflow comes from: a name that the worker knows, or a file of any kind, dropped or chosen.
import { describe, namedWorkflow, namedWorkflows } from '/page/api.js'
import { h, byId, show, takesDrops } from '/page/dom.js'

// Calls onWorkflow({title, name, described}) with what is chosen; described: {input, nodes, inputs, error}.
export async function offerWorkflows(onWorkflow) {
  const names = byId('names')
  const file = byId('file')
  let turn = 0

  async function take(load) {
    const mine = (turn += 1)
    show(byId('source-problem'), null)
    byId('source').setAttribute('aria-busy', 'true')
    try {
      const workflow = await load()
      if (mine === turn) onWorkflow(workflow)
    } catch (error) {
      if (mine === turn) show(byId('source-problem'), error.message)
    } finally {
      if (mine === turn) byId('source').removeAttribute('aria-busy')
    }
  }

  names.addEventListener('change', () => names.value && take(() => byName(names.value)))
  file.addEventListener('change', () => {
    if (file.files.length) take(() => ofFile(file.files[0]))
    file.value = '' // So that the same file can be chosen again.
  })
  takesDrops(byId('drop'), (dropped) => take(() => ofFile(dropped)))
  takesDrops(document.body, (dropped) => take(() => ofFile(dropped)))
  await take(async () => fill(names, await namedWorkflows()))
}

export async function byName(name) {
  const { nodes = [], inputs = [], error } = await namedWorkflow(name)
  return { title: name, name, described: { input: { workflow: name }, nodes, inputs, error } }
}

async function ofFile(file) {
  const described = await describe(file)
  byId('names').value = ''
  return { title: file.name.replace(/\.[^.]+$/, ''), name: null, described }
}

function fill(names, { workflows }) {
  byId('named').hidden = workflows.length === 0
  const options = workflows.map(({ name, error }) => h('option', { value: name }, error ? `${name} (cannot run)` : name))
  names.replaceChildren(h('option', { value: '' }, 'Choose …'), ...options)
  return null
}
