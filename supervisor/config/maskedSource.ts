/** The lines of a configuration as diagnostics show them: no secret, and everything in its column. Works on text that is no YAML. */
import { maskKeys, maskURLs } from '../../shared/secrets.ts'

const stars = (secret: string) => secret.replace(/[^\s{}[\],]/g, '*')

/** How far a URL reaches in a line of YAML. A password that is written wrong may hold a space or a slash. */
const SCALAR = /(?:(?! #|, |: )[^"\n])*/y

/** A key, right or misspelt, whose mapping holds values of headers. What stands in lines below it is meant too. */
const HEADERS_KEY =
  /(?<![\w-])(?!recommended|authCopy|remove)(?:[\w-]*head[a-z]{0,4}["']?[ \t]*:|(?:upstream|response)head[a-z]{0,4}(?!\w))/i
/** The name of an entry of a flow mapping. */
const FLOW_NAME = /([{,]\s*(?:"[^"]*"|'[^']*'|[\w!#$%&*+.^`|~-]+)\s*:)(?=\s)/

/** Patterns of a secret outside of such a mapping: what is shown, and the secret after it. */
const SECRETS: readonly RegExp[] = [
  /(\b(?:Bearer|Basic|Token)\s{1,9})([^\s"']+)/gi,
  /(authPath["']?[ \t]*:[^?]*\?)([^\s"']+)/gi,
  // URLs with too few slashes.
  /(:\/(?!\/))([^\s"'@/]+)(?=@)/g,
  /((?<!\w)(?:https?|h2c|wss?|tcp|unix):\/?(?!\/)[^\s"'?#]*[?#])([^\s"']+)/gi,
  // User name and password of a URL without scheme.
  /((?<![^\s"'[{])(?!login:)[^\s"'@/:[{]+:(?!\/\/))([^\s"'@]+)(?=@)/g,
  // Names of headers, and those that say it: where the key above is so wrong that it says nothing, or an alias stands for it.
  /(?<![\w-])((?:X-|[A-Z]\w{0,64}-)[\w-]+["']?[ \t]*:[ \t]+)("[^"]*"?|'[^']*'?|[^,}\s][^,}]*)/g,
  /(?<![\w-])(?=[\w-]{0,64}(?:token|secret|passw|api-?key|authorization|cookie|credential))([\w-]+["']?[ \t]*:[ \t]+)("[^"]*"?|'[^']*'?|[^,}\s][^,}]*)/gi,
]

/** Gives the line of an index, with stars in the place of what may be a secret; undefined when there is no such line. */
export function maskedSource(lines: readonly string[]): (index: number) => string | undefined {
  let headers: ReadonlyMap<number, number> | undefined
  return (index) => {
    headers ??= linesOfHeaders(lines)
    const line = lines[index]
    if (line === undefined) return undefined
    const values = headers.get(index) ?? line.length
    return maskLine(line.slice(0, values)) + maskValues(line.slice(values))
  }
}

/** A text from elsewhere in the same way, such as the value of a flag. */
export function maskLine(line: string): string {
  const withoutURLs = maskKeys(maskURLs(line, SCALAR, stars), stars)
  return SECRETS.reduce(
    (text, pattern) => text.replace(pattern, (_match, shown: string, secret: string) => shown + stars(secret)),
    withoutURLs,
  )
}

/** Everything but the names of a flow mapping. */
function maskValues(text: string): string {
  return text
    .split(FLOW_NAME)
    .map((part, index) => (index % 2 === 1 ? part : stars(part)))
    .join('')
}

/** The lines with values of headers, and from where on. */
function linesOfHeaders(lines: readonly string[]): ReadonlyMap<number, number> {
  const found = new Map<number, number>()
  let within: number | undefined
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue
    if (within !== undefined && line.search(/[^ \t]/) <= within) within = undefined
    if (within === undefined) {
      const key = HEADERS_KEY.exec(line)
      if (!key) continue
      within = /^[ \t]*(?:- +)*/.exec(line)?.[0].length
      found.set(index, key.index + key[0].length)
    } else {
      // Of a line of its own the name is shown; one without a colon goes on with the value above.
      const name = /^[ \t]*(?:"[^"]*"|'[^']*'|[^\s:{,]+)[ \t]*:(?=\s|$)/.exec(line)?.[0] ?? ''
      found.set(index, name.length)
    }
  }
  return found
}
