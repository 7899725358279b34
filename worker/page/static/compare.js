// Two runs side by side: their pictures, where these differ, what was set, and where the time went.
import { h, byId, dialogHead, newId } from '/page/dom.js'
import { isPicture } from '/page/outputs.js'
import { isSame, stringify } from '/page/json.js'
import { difference } from '/page/pixels.js'
import { seconds } from '/page/receipt.js'

const FACTORS = { auto: 'as bright as it gets', 1: 'as it is', 8: '8 times as bright', 32: '32 times as bright' }

export function compareRuns(first, second, onClose) {
  const dialog = byId('compare')
  const runs = [first, second].sort((one, other) => one.record.began - other.record.began)
  const names = runs.map((run, index) => `${'AB'[index]}: ${run.record.title}, ${new Date(run.record.began).toLocaleTimeString()}`)
  dialog.replaceChildren(
    dialogHead('compare-title', 'Compare two runs', dialog),
    pictures(runs, names),
    valuesTable(runs, names),
    timesTable(runs, names),
  )
  dialog.onclose = onClose
  dialog.showModal()
}

function pictures(runs, names) {
  const [a, b] = runs.map((run) => run.files.filter(isPicture))
  const count = Math.min(a.length, b.length)
  if (!count) return h('p', { class: 'quiet' }, 'These runs have no pictures to compare.')
  const place = h('div', { class: 'pair' })
  const text = h('p', { role: 'status' })
  const which = chooser('Picture', Array.from({ length: count }, (_, index) => [index, `${index + 1}: ${a[index].name}`]))
  const factor = chooser('Difference', Object.entries(FACTORS), 'auto')
  let shown = 0
  async function draw() {
    const turn = (shown += 1)
    const [one, other] = [a, b].map((files) => files[Number(which.control.value)])
    try {
      const found = await difference(one.blob, other.blob, factor.control.value)
      if (turn !== shown) return // Something else has been chosen meanwhile.
      const figures = [one, other].map((file, index) => view(h('img', { src: file.url, alt: `${file.name} of run ${'AB'[index]}` }), names[index]))
      place.replaceChildren(...figures, ...(found.image ? [view(canvas(found.image, found.text), 'Difference')] : []))
      text.textContent = found.text
    } catch {
      text.textContent = 'The browser cannot read one of these pictures.'
    }
  }
  which.control.addEventListener('change', draw)
  factor.control.addEventListener('change', draw)
  draw()
  return h('div', {}, h('div', { class: 'choosers' }, count > 1 ? which.element : null, factor.element), text, place)
}

function chooser(label, options, chosen = options[0][0]) {
  const id = newId('choose')
  const control = h('select', { id }, options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)))
  return { control, element: h('div', {}, h('label', { for: id }, label), control) }
}

const view = (content, text) => h('figure', {}, content, h('figcaption', {}, text))

function canvas(image, text) {
  const element = h('canvas', { width: image.width, height: image.height, role: 'img', 'aria-label': text })
  element.getContext('2d').putImageData(image, 0, 0)
  return element
}

function valuesTable(runs, names) {
  const [a, b] = runs.map((run) => run.record.values)
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => !isSame(a[key], b[key]))
  const shown = (value) => (value === undefined ? 'as in the workflow' : typeof value === 'string' ? value : stringify(value))
  const rows = keys.map((key) => [key, shown(a[key]), shown(b[key])])
  return rows.length ? table('What was set', names, rows) : h('p', { class: 'quiet' }, 'The same values were set.')
}

function timesTable(runs, names) {
  const [a, b] = runs.map((run) => timesOf(run.metrics))
  if (!a || !b) return null
  const keys = [...a.keys()].filter((key) => (a.get(key) ?? 0) >= 1 || (b.get(key) ?? 0) >= 1)
  const shown = (ms) => (ms === undefined ? '' : seconds(ms))
  return table('Where the time went', names, keys.map((key) => [key, shown(a.get(key)), shown(b.get(key))]))
}

function timesOf(metrics) {
  if (!metrics) return null
  const own = metrics.phases.filter((phase) => !phase.overlaps)
  return new Map([['in all', metrics.total_ms], ...own.map((phase) => [phase.phase, phase.ms])])
}

function table(title, names, rows) {
  return h('div', { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': title }, h('table', { class: 'values' },
    h('caption', {}, title),
    h('thead', {}, h('tr', {}, h('td'), names.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, rows.map(([name, ...cells]) => h('tr', {}, h('th', { scope: 'row' }, name), cells.map((cell) => h('td', {}, cell))))),
  ))
}
