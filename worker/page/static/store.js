// What a reload must not lose: the workflow with its values, and the runs. It stays in this tab, as the token does.

export function save(name, value) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value, big))
    return true
  } catch {
    sessionStorage.removeItem(name) // There is room for some 5 MB.
    return false
  }
}

export function load(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name), (_, value) => (value?.$big ? BigInt(value.$big) : value))
  } catch {
    return null
  }
}

const big = (_, value) => (typeof value === 'bigint' ? { $big: String(value) } : value)
