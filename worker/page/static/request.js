// The dialog from which a request is copied as a program.
import { h, byId, button, dialogHead, tell } from '/page/dom.js'
import { snippets } from '/page/snippets.js'

const LANGUAGES = { curl: 'curl', python: 'Python', javascript: 'JavaScript' }
const LONGEST_SHOWN = 50_000
let language = 'curl'

// input: what a request takes. files: names of files that the program reads itself.
export function showRequest(input, files, hasToken) {
  const dialog = byId('request')
  const texts = snippets(location.origin, input, files, hasToken)
  const code = h('pre', { class: 'code', tabindex: '0', role: 'region', 'aria-label': 'The program' })
  const tabs = Object.entries(LANGUAGES).map(([name, title]) => button(title, () => choose(name), { 'data-language': name }))
  const copy = button('Copy', async () => {
    try {
      await navigator.clipboard.writeText(texts[language])
      said('Copied')
    } catch {
      getSelection().selectAllChildren(code)
      said('Press Ctrl+C: the browser lets pages copy by themselves only from https and from this machine')
    }
  }, { class: 'main' })
  const note = h('p', { class: 'quiet' })
  const said = (text) => { note.textContent = text; tell(text) }

  function choose(name) {
    language = name
    for (const tab of tabs) tab.setAttribute('aria-pressed', String(tab.dataset.language === name))
    const text = texts[name]
    code.textContent = text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}\n… (Copy takes all of it)` : text
    note.textContent = hasToken ? 'The token comes from the variable LOCAL_API_TOKEN.' : ''
  }
  choose(language)
  dialog.replaceChildren(
    dialogHead('request-title', 'This request as a program', dialog),
    h('div', { class: 'tabs', role: 'group', 'aria-label': 'Language' }, tabs),
    code,
    h('div', { class: 'dialog-foot' }, note, copy),
  )
  dialog.showModal()
}
