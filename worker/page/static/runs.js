// The gallery: an article for each run, from the moment at which it is sent.
import { h, button, newId, tell } from '/page/dom.js'
import { fileOf, figure } from '/page/outputs.js'
import { stringify } from '/page/json.js'
import { receipt, seconds } from '/page/receipt.js'
import { sorted } from '/page/problems.js'

const LONGEST_VALUE = 60
const ENDS = { COMPLETED: 'Done', FAILED: 'Failed', CANCELLED: 'Cancelled', TIMED_OUT: 'Timed out' }

// One run: record is {id, title, values, input, began}. actions: {compare, copy, reuse, remove, stop}, called with the run.
export class Run {
  constructor(record, actions) {
    Object.assign(this, { record, actions, status: 'IN_QUEUE', files: [], metrics: null, problems: sorted([]) })
    const id = newId('run')
    this.badge = h('span', { class: 'badge' }, 'Waiting')
    this.preview = h('img', { class: 'preview', alt: 'Preview of the picture that is made', hidden: true })
    this.line = h('p', { class: 'quiet' }, 'Waiting for its turn')
    const stop = button('Cancel', () => actions.stop(this), { 'aria-label': `Cancel ${record.title}` })
    this.body = h('div', { class: 'run-body' }, this.preview, this.line, h('div', { class: 'run-buttons' }, stop))
    this.element = h('article', { class: 'run', 'aria-labelledby': id, 'data-run': record.id },
      h('header', {},
        h('h3', { id }, record.title),
        h('span', { class: 'quiet' }, new Date(record.began).toLocaleTimeString()),
        this.badge,
      ),
      changes(record.values),
      this.body,
    )
  }

  // seen: what /status says.
  update(seen) {
    this.status = seen.status
    this.element.dataset.status = seen.status
    if (seen.status in ENDS) this.end(seen)
    else this.progress(seen)
  }

  progress(seen) {
    const { preview, message } = seen.output ?? {}
    this.badge.textContent = seen.status === 'IN_QUEUE' ? 'Waiting' : 'Running'
    this.line.textContent = seen.lost ?? described(seen.output) ?? message ?? 'Waiting for its turn'
    if (preview) {
      this.preview.src = `data:image/jpeg;base64,${preview}`
      this.preview.hidden = false
    }
  }

  end(seen) {
    const answer = seen.output ?? {}
    const isDone = seen.status === 'COMPLETED'
    this.badge.textContent = isDone && answer.errors ? 'Done in part' : ENDS[seen.status]
    this.metrics = answer.metrics ?? null
    this.files = [...(answer.images ?? []), ...(answer.files ?? [])].map(fileOf)
    const texts = [seen.error, ...(answer.details ?? []), ...(answer.errors ?? [])].filter(Boolean)
    this.problems = sorted(texts.length > 1 ? texts.filter((text) => text !== 'Job processing failed') : texts)
    this.body.replaceChildren(
      ...this.results(answer, texts),
      this.buttons(),
      ...(this.metrics ? [receipt(this.metrics)] : []),
    )
    tell(`${this.record.title}: ${this.badge.textContent}`)
  }

  results(answer, texts) {
    const shown = this.files.map((file) => figure(file, this.record.title))
    const said = (answer.text ?? []).map(({ node_id: node, text }) => h('figure', { class: 'output text' },
      h('pre', { tabindex: '0', role: 'region', 'aria-label': `Text of node ${node}` }, text),
      h('figcaption', { class: 'quiet' }, `Text of node ${node}`)))
    const lines = (label, list) => list?.length ? [h('ul', { class: label, 'aria-label': label }, list.map((text) => h('li', {}, text)))] : []
    const isEmpty = this.status === 'COMPLETED' && !shown.length && !said.length && !texts.length
    return [
      shown.length + said.length ? h('div', { class: 'outputs' }, shown, said) : null,
      isEmpty ? h('p', { class: 'quiet' }, 'Nothing was saved, and nothing went wrong.') : null,
      ...lines('errors', texts), ...lines('warnings', answer.warnings),
    ].filter(Boolean)
  }

  buttons() {
    const { compare, copy, reuse, remove } = this.actions
    const toggle = button('Compare', () => {
      toggle.setAttribute('aria-pressed', String(toggle.getAttribute('aria-pressed') !== 'true'))
      compare(this)
    }, { 'aria-pressed': 'false' })
    this.unmark = () => toggle.setAttribute('aria-pressed', 'false')
    return h('div', { class: 'run-buttons' },
      this.status === 'COMPLETED' ? toggle : null,
      button('Use these values', () => reuse(this)),
      this.record.input && button('Copy request', () => copy(this)),
      button('Remove', () => { this.free(); remove(this) }, { class: 'plain', 'aria-label': `Remove ${this.record.title}` }),
      this.metrics && h('span', { class: 'quiet' }, seconds(this.metrics.total_ms)),
    )
  }

  free() {
    for (const file of this.files) if (file.blob) URL.revokeObjectURL(file.url)
    this.element.remove()
  }
}

// Progress in one line, or undefined if nothing is known yet.
export function described(output) {
  if (!output?.message) return undefined
  const name = output.title ?? output.message.split(':')[0]
  const step = output.steps ? `: step ${output.step} of ${output.steps}` : ''
  const left = output.seconds_left === undefined ? '' : `, ${Math.ceil(output.seconds_left)} s left`
  const text = output.stage === 'running' && output.node_id ? name + step : output.message
  return `${text} · ${Math.floor(output.percent)} %${left}`
}

function changes(values) {
  const entries = Object.entries(values)
  if (!entries.length) return null
  const cut = (text) => (text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text)
  return h('ul', { class: 'changes', 'aria-label': 'Set for this run' }, entries.map(([key, value]) => h('li', {},
    h('span', { class: 'quiet' }, `${key} `), cut(typeof value === 'string' ? value : stringify(value)))))
}
