// JSON that keeps every digit. Seeds go up to 2^64, and JavaScript's numbers are exact up to 2^53 only: whole numbers
// beyond that become BigInts where the browser tells the text of a number (Chromium 114, Safari 18.4, Firefox 135).

export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const isLarge = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)
    return isLarge && /^-?\d+$/.test(context?.source ?? '') ? BigInt(context.source) : value
  })
}

export function stringify(value, indent) {
  return JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? raw(inner) : inner), indent)
}

function raw(number) {
  return JSON.rawJSON ? JSON.rawJSON(String(number)) : Number(number)
}

// What somebody has typed into a field for numbers; null if it is no number.
export function typedNumber(text) {
  const plain = text.trim()
  if (/^[-+]?\d+$/.test(plain)) {
    const whole = BigInt(plain)
    return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole
  }
  const number = Number(plain)
  return plain !== '' && Number.isFinite(number) ? number : null
}

export function isSame(one, other) {
  return one === other || stringify(one) === stringify(other)
}
