// Shows one file of an answer: a picture, a video, a sound, a 3D model, or a card from which it can be had.
import { h, byId, button } from '/page/dom.js'
import { describeModel } from '/page/model3d.js'

// {name, type, blob, url} of an entry of `images` or `files`. What is in a bucket has no blob.
export function fileOf(entry) {
  const about = { name: entry.filename, type: entry.media_type, node: entry.node_id }
  if (entry.type !== 'base64') return { ...about, blob: null, url: entry.data }
  const blob = new Blob([Uint8Array.from(atob(entry.data), (letter) => letter.charCodeAt(0))], { type: entry.media_type })
  return { ...about, blob, url: URL.createObjectURL(blob) }
}

export function isPicture(file) {
  return file.blob !== null && file.type.startsWith('image/')
}

export function figure(file, title) {
  return h('figure', { class: 'output' }, content(file, title), caption(file))
}

function content(file, title) {
  const alt = `${file.name}, from ${title}`
  if (file.blob === null) return h('p', { class: 'card' }, 'In the bucket')
  if (isPicture(file)) {
    const open = button('', () => enlarge(file, alt), { class: 'picture', 'aria-label': `Enlarge ${file.name}` })
    const isUnknown = () => open.replaceWith(h('p', { class: 'card' }, `${file.type}: this browser does not show it`))
    open.append(h('img', { src: file.url, alt, onerror: isUnknown }))
    return open
  }
  if (file.type.startsWith('video/')) return h('video', { src: file.url, controls: true, loop: true, 'aria-label': alt })
  if (file.type.startsWith('audio/')) return h('audio', { src: file.url, controls: true, 'aria-label': alt })
  const card = h('p', { class: 'card' }, kindOf(file))
  describeModel(file).then((text) => text && card.append(h('br'), text))
  return card
}

function caption(file) {
  const link = file.blob === null
    ? h('a', { href: file.url, rel: 'noreferrer' }, file.name)
    : h('a', { href: file.url, download: file.name }, file.name)
  return h('figcaption', {}, link, file.blob && h('span', { class: 'quiet' }, sizeOf(file.blob.size)))
}

const kindOf = (file) => (file.type.startsWith('model/') ? '3D model' : file.type)

export function sizeOf(bytes) {
  if (bytes < 1000) return `${bytes} B`
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`
}

function enlarge(file, alt) {
  const viewer = byId('viewer')
  const close = button('Close', () => viewer.close())
  viewer.replaceChildren(h('img', { src: file.url, alt }), h('div', { class: 'dialog-foot' }, h('span', { class: 'quiet' }, file.name), close))
  viewer.showModal()
}
