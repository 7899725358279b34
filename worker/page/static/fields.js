// The field of one input: what it looks like by its type, and how its value is read.
// A field has: element, control, value() (undefined: as the workflow has it), set(value), problem() (a text or null).
import { h, button, newId } from '/page/dom.js'
import { isSame, stringify, typedNumber } from '/page/json.js'
import { fileField } from '/page/file_field.js'

const SEED = /seed$/i
const LONGEST_RANGE = 2000 // Steps of a slider.
const HUGE = 1e15 // Limits beyond this say nothing to people.

export function makeField(input) {
  if (input.upload) return fileField(input)
  if (input.choices) return choiceField(input, input.choices)
  if (input.type === 'BOOLEAN' && input.default === undefined) return choiceField(input, [true, false])
  if (input.type === 'BOOLEAN' || typeof input.default === 'boolean') return switchField(input)
  if (['INT', 'FLOAT'].includes(input.type) || isNumber(input.default)) return numberField(input)
  if (input.type === 'STRING' || typeof input.default === 'string') return textField(input)
  return jsonField(input)
}

const isNumber = (value) => typeof value === 'number' || typeof value === 'bigint'

// The frame of a field: its label, its control and more, and a line for what is wrong with it.
export function frame(input, control, { more = [], hint = '', wide = false, read, write, check = () => null }) {
  const id = newId('field')
  control.id = id
  const error = h('p', { id: `${id}-error`, class: 'problem', hidden: true })
  const about = h('p', { id: `${id}-hint`, class: 'hint' }, hint)
  control.setAttribute('aria-describedby', `${id}-error${hint ? ` ${id}-hint` : ''}`)
  const label = h('label', { for: id }, input.input)
  const line = h('div', { class: 'control' }, control, more)
  const element = h('div', { class: wide ? 'field wide' : 'field', 'data-name': input.input }, label, line, hint && about, error)
  const field = {
    input, element, control,
    value() {
      const value = read()
      return isSame(value, input.default) ? undefined : value
    },
    set(value) {
      write(value)
      control.dispatchEvent(new Event('input', { bubbles: true }))
    },
    problem: check,
    files: () => [],
    show(text) {
      error.textContent = text ?? ''
      error.hidden = !text
      control.setAttribute('aria-invalid', text ? 'true' : 'false')
    },
  }
  control.addEventListener('change', () => field.show(check()))
  return field
}

function numberField(input) {
  const { min, max } = input
  const isWhole = input.type === 'INT'
  const control = h('input', { type: 'text', inputmode: isWhole ? 'numeric' : 'decimal', autocomplete: 'off' })
  const write = (value) => (control.value = value ?? '')
  const read = () => (control.value.trim() === '' ? input.default : typedNumber(control.value) ?? control.value)
  const check = () => {
    const number = typedNumber(control.value)
    if (control.value.trim() === '') return null // As it is in the workflow.
    if (number === null) return 'This is no number'
    if (isWhole && typeof number !== 'bigint' && !Number.isInteger(number)) return 'A whole number is needed'
    if ((min !== undefined && number < min) || (max !== undefined && number > max)) return `${range(input)} is allowed`
    return null
  }
  const more = SEED.test(input.input) && isWhole ? seedTools(input, control) : [slider(input, control)]
  write(input.default)
  const field = frame(input, control, { more, hint: range(input), read, write, check })
  control.addEventListener('keydown', (event) => step(event, input, control))
  field.beforeRun = () => more.find((tool) => tool?.isRolled?.())?.roll()
  return field
}

function range({ min, max }) {
  const [low, high] = [min, max].map((limit) => (limit === undefined || Math.abs(Number(limit)) > HUGE ? null : String(limit)))
  if (low !== null && high !== null) return `${low} to ${high}`
  return low !== null ? `${low} or more` : high !== null ? `up to ${high}` : ''
}

// The arrow keys, as in a field for numbers. Those fields themselves lose the digits of large seeds.
function step(event, input, control) {
  const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key]
  const number = typedNumber(control.value)
  if (!sign || number === null) return
  event.preventDefault()
  const size = Number(input.step ?? (input.type === 'INT' ? 1 : 0.1))
  let next = typeof number === 'bigint' ? number + BigInt(sign * Math.max(1, Math.round(size))) : rounded(number + sign * size)
  if (input.min !== undefined && next < input.min) next = input.min
  if (input.max !== undefined && next > input.max) next = input.max
  control.value = String(next)
  control.dispatchEvent(new Event('input', { bubbles: true }))
  control.dispatchEvent(new Event('change', { bubbles: true }))
}

const rounded = (number) => Number(number.toPrecision(12))

// For the mouse and the finger. The field beside it is the one for keys and for screen readers.
function slider({ min, max, step: size, type }, control) {
  const by = Number(size ?? (type === 'INT' ? 1 : 0.01))
  if (min === undefined || max === undefined || (Number(max) - Number(min)) / by > LONGEST_RANGE) return null
  const line = h('input', { type: 'range', min, max, step: by, tabindex: '-1', 'aria-hidden': 'true' })
  const follow = () => (line.value = control.value)
  line.addEventListener('input', () => {
    control.value = String(rounded(Number(line.value)))
    control.dispatchEvent(new Event('change', { bubbles: true }))
  })
  control.addEventListener('input', follow)
  queueMicrotask(follow)
  return line
}

function seedTools(input, control) {
  const limit = input.max !== undefined && input.max < Number.MAX_SAFE_INTEGER ? Number(input.max) : Number.MAX_SAFE_INTEGER
  const roll = () => {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2))
    control.value = String(((high & 0x1fffff) * 2 ** 32 + low) % (limit + 1))
    control.dispatchEvent(new Event('change', { bubbles: true }))
  }
  const dice = button('⚄', roll, { class: 'dice', 'aria-label': `Roll ${input.input}`, title: 'Another seed' })
  const box = h('input', { type: 'checkbox' })
  box.setAttribute('aria-label', `Roll ${input.input} for each run`)
  const each = h('label', { class: 'check' }, box, 'for each run')
  each.isRolled = () => box.checked
  each.roll = roll
  return [dice, each]
}

function textField(input) {
  const isLong = input.multiline || String(input.default ?? '').includes('\n')
  const control = isLong ? h('textarea', { rows: '3' }) : h('input', { type: 'text', autocomplete: 'off' })
  const write = (value) => (control.value = value ?? '')
  write(input.default)
  const read = () => (control.value === '' && input.default === undefined ? undefined : control.value)
  return frame(input, control, { wide: isLong, read, write })
}

function switchField(input) {
  const control = h('input', { type: 'checkbox', role: 'switch', class: 'switch' })
  const write = (value) => (control.checked = value === true)
  write(input.default)
  return frame(input, control, { read: () => control.checked, write })
}

// A default is not told if it is a path of the worker's machine, or a key: then "as in the workflow" stands for it.
function choiceField(input, choices) {
  const control = h('select')
  const isKnown = (value) => choices.some((choice) => isSame(usual(choice), usual(value)))
  const isAbsent = input.default === undefined || !isKnown(input.default)
  const values = isAbsent || choices.includes(input.default) ? [...choices] : choices.map((one) => (usual(one) === usual(input.default) ? input.default : one))
  if (isAbsent) values.push(input.default)
  for (const [index, value] of values.entries()) {
    const text = value === undefined ? 'as in the workflow' : typeof value === 'string' ? value : stringify(value)
    control.append(h('option', { value: index }, isAbsent && value !== undefined && value === input.default ? `${text} (not here)` : text))
  }
  const read = () => values[control.selectedIndex]
  const write = (value) => (control.selectedIndex = values.findIndex((one) => isSame(one, value)))
  const tellAbsent = () => field.show(isAbsent && read() !== undefined && read() === input.default ? 'This is not here: choose another' : null)
  const field = frame(input, control, { read, write })
  write(input.default)
  tellAbsent()
  control.addEventListener('change', tellAbsent)
  return field
}

// The worker takes names of models in folders as Windows writes them, too.
const usual = (name) => (typeof name === 'string' ? name.replaceAll('\\', '/') : name)

function jsonField(input) {
  const control = h('textarea', { rows: '2', spellcheck: 'false', class: 'code' })
  const write = (value) => (control.value = value === undefined ? '' : stringify(value))
  write(input.default)
  const read = () => {
    try {
      return control.value.trim() === '' ? input.default : JSON.parse(control.value)
    } catch {
      return input.default
    }
  }
  const check = () => {
    try {
      if (control.value.trim() !== '') JSON.parse(control.value)
      return null
    } catch {
      return 'This is no JSON'
    }
  }
  return frame(input, control, { wide: true, hint: `JSON (${input.type})`, read, write, check })
}
