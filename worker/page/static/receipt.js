// The receipt of a run as bars: its phases on one line of time, and its slowest nodes. docs/metrics.md explains them.
import { h } from '/page/dom.js'

const MOST_NODES = 10

export function receipt(metrics) {
  const about = [
    `${seconds(metrics.total_ms)} in all`,
    metrics.gpu_seconds !== undefined && `${metrics.gpu_seconds.toFixed(2)} s of the GPU`,
    metrics.start === 'cold' && 'first run of this worker',
    metrics.vram_peak_bytes && `${(metrics.vram_peak_bytes / 1e9).toFixed(2)} GB of VRAM at most`,
    metrics.cost !== undefined && `cost ${Number(metrics.cost.toPrecision(3))}`,
  ]
  return h('details', { class: 'receipt' },
    h('summary', {}, 'Where the time went'),
    h('p', { class: 'quiet' }, about.filter(Boolean).join(' · ')),
    table('Phases', metrics.phases.filter((phase) => phase.ms > 0).map((phase) => ({
      name: phase.phase, ms: phase.ms, start: phase.start_ms, note: phase.overlaps ? 'beside others' : '',
    })), metrics.total_ms),
    metrics.nodes?.length ? nodeTable(metrics.nodes) : null,
  )
}

function nodeTable(nodes) {
  const ran = nodes.filter((node) => !node.cached).sort((one, other) => other.ms - one.ms).slice(0, MOST_NODES)
  const cached = nodes.filter((node) => node.cached).length
  const rows = ran.map((node) => ({ name: node.title ?? node.class_type, ms: node.ms, start: 0, note: node.node_id }))
  const longest = Math.max(...ran.map((node) => node.ms), 0)
  return [
    rows.length ? table('Slowest nodes', rows, longest) : null,
    cached ? h('p', { class: 'quiet' }, `${cached} of ${nodes.length} nodes were cached`) : null,
  ]
}

function table(title, rows, whole) {
  return h('table', { class: 'bars' },
    h('caption', {}, title),
    h('tbody', {}, rows.map(({ name, ms, start, note }) => h('tr', {},
      h('th', { scope: 'row' }, name, note && h('span', { class: 'quiet' }, ` ${note}`)),
      h('td', { class: 'track' }, bar(start / whole, ms / whole, note === 'beside others')),
      h('td', { class: 'number' }, seconds(ms)),
    ))),
  )
}

// from, part: of the whole width, 0 to 1. The number beside it says the same.
function bar(from, part, isBeside) {
  const element = h('div', { class: isBeside ? 'fill beside' : 'fill' })
  const left = Math.min(Math.max(from, 0), 0.995)
  element.style.marginInlineStart = `${left * 100}%`
  element.style.width = `${Math.max(0.5, Math.min(part, 1 - left) * 100)}%`
  return element
}

export function seconds(ms) {
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`
}
