// Dark or light: as the system has it, or as somebody has chosen.
const THEMES = ['system', 'dark', 'light']
const KEPT = 'theme'

export function offerThemes(button) {
  let theme = THEMES.includes(localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : 'system'
  function apply() {
    document.documentElement.dataset.theme = theme
    button.textContent = `Theme: ${theme}`
  }
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]
    localStorage.setItem(KEPT, theme)
    apply()
  })
  apply()
}
