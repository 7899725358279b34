// Finds the nodes that an error is about. The texts are those of docs/api.md: a bullet, or a line of `details`, names its
// node by id and class, and often the input.

const BULLET = /^•? ?Node (?<id>\S+) \((?<about>[^)]*)\)(?: (?<input>[^\s:]+))?: (?<text>.*)$/s
const RAISED = /^Workflow execution error: Node Type: (?<about>.*?), Node ID: (?<id>.*?), Message: (?<text>.*)$/s
const SET = /^'set': .*?\b(?:of )?node (?<id>\S+) \((?<about>[^)]*)\)/s
const KEY = /^'set': (?<quote>['"])(?<key>.*?)\k<quote> is .* and (?:must|takes)/s

// {byNode: {id: [{input, text}]}, byKey: {key of set: text}, rest: [text]} of the texts that came with a job.
export function sorted(texts) {
  const byNode = {}
  const byKey = {}
  const rest = []
  for (const line of texts.flatMap(pieces)) {
    const found = (BULLET.exec(line) ?? RAISED.exec(line))?.groups
    if (found) {
      byNode[found.id] ??= []
      byNode[found.id].push({ input: found.input ?? null, text: found.text })
    } else if (SET.exec(line)) {
      byNode[SET.exec(line).groups.id] = [{ input: null, text: line.replace(/^'set': /, '') }]
    } else if (KEY.test(line)) {
      byKey[KEY.exec(line).groups.key] = line.replace(/^'set': /, '')
    } else if (line.trim()) {
      rest.push(line)
    }
  }
  return { byNode, byKey, rest }
}

// A text with bullets in pieces. A bullet may have several lines.
function pieces(text) {
  const [head, ...bullets] = text.split(/\n(?=• )/)
  const last = bullets.at(-1)?.split('\n\n') ?? []
  return [head, ...bullets.slice(0, -1), ...last].filter((piece) => piece !== 'Workflow validation failed:')
}
