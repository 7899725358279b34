// Builds elements. There is no innerHTML on this page: what a workflow or a worker says is always a text.

let made = 0

// h('p', {class: 'quiet', onclick: f}, 'text', another) makes an element. null and false leave out; true is an attribute
// without a value.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value)
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

export const byId = (id) => document.getElementById(id)

export function newId(about) {
  made += 1
  return `${about}-${made}`
}

// Shows a text in an element that is hidden without one.
export function show(element, text) {
  element.hidden = !text
  element.textContent = text ?? ''
}

// Tells people who cannot see the page what has changed.
export function tell(text) {
  byId('told').textContent = text
}

export function button(text, onclick, attributes = {}) {
  return h('button', { type: 'button', onclick, ...attributes }, text)
}

// The buttons and the title of a dialog, which closes with Escape as well.
export function dialogHead(id, text, dialog) {
  const close = button('Close', () => dialog.close(), { class: 'plain' })
  return h('div', { class: 'dialog-head' }, h('h2', { id, tabindex: '-1' }, text), close)
}

// Lets files be dropped on an element, which is marked meanwhile.
export function takesDrops(element, onFile) {
  const mark = (event) => {
    event.preventDefault()
    element.classList.toggle('over', event.type === 'dragover')
  }
  for (const name of ['dragover', 'dragleave']) element.addEventListener(name, mark)
  element.addEventListener('drop', (event) => {
    mark(event)
    event.stopPropagation()
    if (event.dataTransfer.files.length) onFile(event.dataTransfer.files[0])
  })
}
