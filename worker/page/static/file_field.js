// The field of an input that loads a file: choose one or drop it. The request carries it.
import { h, takesDrops } from '/page/dom.js'
import { frame } from '/page/fields.js'

export function fileField(input) {
  let chosen = null // {name, file}
  let name = input.default
  const control = h('input', { type: 'file', class: 'unseen' })
  const picture = h('img', { alt: '', hidden: true })
  const text = h('span', { class: 'quiet' })
  const zone = h('div', { class: 'drop small' }, picture, text)
  const field = frame(input, control, {
    wide: true,
    more: [zone],
    read: () => name,
    write: (value) => { name = value },
  })
  const choose = h('label', { class: 'button', for: control.id }, 'Choose a file')
  zone.append(choose)

  function take(file) {
    chosen = { name: safeName(file.name), file }
    name = chosen.name
    URL.revokeObjectURL(picture.src)
    picture.hidden = !file.type.startsWith('image/')
    if (!picture.hidden) picture.src = URL.createObjectURL(file)
    tell()
    field.show(null)
  }
  function tell() {
    if (chosen) text.textContent = `${chosen.name}, ${Math.max(1, Math.round(chosen.file.size / 1000))} KB`
    else if (name) text.textContent = `${name}: drop another here`
    else text.textContent = 'Drop a file here'
  }

  control.addEventListener('change', () => control.files.length && take(control.files[0]))
  takesDrops(zone, take)
  tell()
  return Object.assign(field, {
    files: () => (chosen ? [chosen] : []),
    set(value) {
      if (chosen?.name !== value) chosen = null
      picture.hidden = !chosen
      name = value
      tell()
    },
  })
}

// Loaders find a file by a name that is a plain one, and two files of one name would be one.
const taken = new Map()
function safeName(given) {
  const plain = given.replace(/[\\/:\u0000-\u001f]/g, '_').replace(/^\.+/, '_')
  const dot = plain.lastIndexOf('.')
  const count = taken.get(plain) ?? 0
  taken.set(plain, count + 1)
  if (!count) return plain
  return dot > 0 ? `${plain.slice(0, dot)}-${count + 1}${plain.slice(dot)}` : `${plain}-${count + 1}`
}

// base64 of a file.
export function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1))
    reader.onerror = () => reject(new Error(`${file.name} cannot be read any more: choose it again`))
    reader.readAsDataURL(file)
  })
}
