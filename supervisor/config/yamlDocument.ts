/**
 * YAML text as a tree that knows its places, read as yaml.v3 reads it (tsnsrv's parser): anchors, aliases and merge keys
 * work, duplicate keys are errors. Scalars stay text; what they mean is decided by the schema (scalar.ts).
 */
import {
  type Alias,
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  type Node,
  Parser,
  type Scalar,
  visit,
  type YAMLParseError,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml'
import { indentationSlip } from './indentation.ts'
import { quote, type Range, type Report } from './report.ts'

export type YamlNode = Scalar | YAMLMap | YAMLSeq

/** One key of a mapping, merged ones included. */
export interface Entry {
  readonly key: Range
  readonly value: YamlNode | undefined
}

/** No configuration comes near this; the composer recurses and would overflow the stack. */
const MOST_NESTED = 100
/** What aliases and merge keys may multiply a document to, in nodes. */
const MOST_EXPANDED = 100_000

/**
 * Parses the text of a report.
 * @throws {ConfigError} when it cannot be read at all.
 */
export function readYaml(report: Report): YamlDocument {
  const control = /(?![\t\n\r\u0085])\p{Cc}/u.exec(report.text)
  if (control) {
    const code = report.text.charCodeAt(control.index).toString(16).padStart(2, '0')
    report.error({ start: control.index, end: control.index + 1 }, `control character 0x${code}: this is not a YAML text file`)
    throw report.refusal()
  }
  const [document, second] = composeDocuments(report)
  // One slip makes many errors after it: only the first says where it is.
  const problem = document?.errors[0]
  if (document && problem) reportProblem(problem, document, report)
  else if (second) {
    const [start] = second.range
    const remedy = 'a configuration is one document: remove this or join the two'
    report.error({ start, end: start + 3 }, 'a second YAML document starts here', remedy)
  }
  const targets = document && !report.failed ? resolveAliases(document, report) : new Map<Alias, Node>()
  if (report.failed) throw report.refusal()
  return new YamlDocument(document?.contents ?? null, targets, report)
}

/** Slips whose message does not say what to do. */
const HINTS: Readonly<Partial<Record<string, string>>> = {
  BLOCK_AS_IMPLICIT_KEY: 'put a text that contains ": " in quotes, or the second key on a line of its own',
  BAD_SCALAR_START: 'put the text in quotes',
  TAB_AS_INDENT: 'indent with spaces',
  MULTILINE_IMPLICIT_KEY: 'a key and its colon stand on one line; perhaps a quote or a colon is missing above',
}

function reportProblem(
  { code, message, pos }: Pick<YAMLParseError, 'code' | 'message' | 'pos'>,
  document: Document,
  report: Report,
): void {
  const slip = indentationSlip(report.text, code, pos[0])
  if (slip) {
    report.error(slip.range, slip.message, 'put them under each other')
    return
  }
  // What is never closed is noticed at the end of the file; where it was opened says more.
  const opened = /^(Missing closing|Flow)/.test(message) ? lastOpened(document, pos[0]) : undefined
  if (opened === undefined) report.error({ start: pos[0], end: pos[1] }, inPlainWords(message), HINTS[code])
  else report.error({ start: opened, end: opened + 1 }, `this ${report.text.charAt(opened)} is never closed`)
}

/** Where the innermost quoted text or bracket starts that reaches up to an offset. */
function lastOpened(document: Document, offset: number): number | undefined {
  let opened: number | undefined
  visit(document, {
    Value(_key, node) {
      const [start, end] = node.range ?? [0, 0]
      const hasClosing = isScalar(node) ? node.type?.startsWith('QUOTE') : node.flow
      if (hasClosing && end >= offset && start < offset) opened = start
    },
  })
  return opened
}

/** The parser's messages are good but for the capital letter. */
function inPlainWords(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1)
}

function composeDocuments(report: Report): Document.Parsed[] {
  const parser = new Parser()
  function* tokens() {
    for (const lexeme of new Lexer().lex(report.text)) {
      yield* parser.next(lexeme)
      if (parser.stack.length > MOST_NESTED) {
        report.error({ start: parser.offset - lexeme.length, end: parser.offset }, `nested more than ${MOST_NESTED} levels deep`)
        return
      }
    }
    yield* parser.end()
  }
  const composer = new Composer({ schema: 'failsafe', uniqueKeys: false })
  return [...composer.compose(tokens(), true, report.text.length)]
}

/** What each alias stands for: the anchor of that name last seen before it. */
function resolveAliases(document: Document, report: Report): ReadonlyMap<Alias, Node> {
  const targets = new Map<Alias, Node>()
  if (!report.text.includes('*')) return targets
  const anchors = new Map<string, Node>()
  visit(document, {
    Alias(_key, alias, ancestors) {
      const target = anchors.get(alias.source)
      if (target === undefined)
        report.error(
          rangeOf(alias),
          `unknown anchor '${alias.source}' referenced`,
          'an anchor (&name) must stand above its first use',
        )
      else if (ancestors.includes(target)) report.error(rangeOf(alias), `anchor '${alias.source}' value contains itself`)
      else targets.set(alias, target)
    },
    Value(_key, node) {
      if (node.anchor !== undefined) anchors.set(node.anchor, node)
    },
  })
  return targets
}

/** Where a node stands in the text, without the white space and comments after it. */
export function rangeOf(node: Node): Range {
  const [start, end] = node.range ?? [0, 0]
  return { start, end }
}

/** Whether a node is absent or yaml.v3's null, which for a configuration is the same. */
export function isNothing(node: YamlNode | undefined): boolean {
  if (node === undefined) return true
  return isScalar(node) && node.type === 'PLAIN' && node.tag === undefined && /^(|~|null|Null|NULL)$/.test(textOf(node))
}

/** The text of a scalar, unquoted and unescaped. */
export function textOf(scalar: Scalar): string {
  return scalar.source ?? String(scalar.value)
}

export class YamlDocument {
  readonly root: YamlNode | undefined
  readonly #targets: ReadonlyMap<Alias, Node>
  readonly #report: Report
  readonly #entries = new WeakMap<YAMLMap, ReadonlyMap<string, Entry>>()
  #visited = 0

  constructor(root: Node | null, targets: ReadonlyMap<Alias, Node>, report: Report) {
    this.#targets = targets
    this.#report = report
    this.root = this.#target(root)
  }

  /** One key of the document's top level. */
  section(name: string): Entry | undefined {
    return isMap(this.root) ? this.entries(this.root).get(name) : undefined
  }

  /** The elements of a list, aliases followed. */
  items(list: YAMLSeq): (YamlNode | undefined)[] {
    this.#count(list.items.length, rangeOf(list))
    return list.items.map((item) => this.#target(item))
  }

  /** The keys of a mapping and what they hold. Own keys win over merged ones, an earlier merged mapping over a later one. */
  entries(map: YAMLMap): ReadonlyMap<string, Entry> {
    const entries = this.#entriesOf(map)
    this.#count(entries.size, rangeOf(map))
    return entries
  }

  #entriesOf(map: YAMLMap): ReadonlyMap<string, Entry> {
    const known = this.#entries.get(map)
    if (known) return known
    const own = new Map<string, Entry>()
    for (const pair of map.items) {
      const key = this.#target(pair.key)
      if (!isScalar(key)) {
        this.#report.error(rangeOf(key ?? map), 'a key must be a text, not a list or a mapping')
        continue
      }
      const name = textOf(key)
      const first = own.get(name)
      if (first)
        this.#report.error(rangeOf(key), `mapping key ${quote(name)} already defined at line ${this.#report.lineOf(first.key)}`)
      else own.set(name, { key: rangeOf(key), value: this.#target(pair.value) })
    }
    const entries = this.#merge(own)
    this.#entries.set(map, entries)
    return entries
  }

  /** Where the value at a path stands, or else its key. Undefined when there is no such thing. */
  place(path: readonly (string | number)[]): Range | undefined {
    return this.#find(path)?.range
  }

  /** The keys of the mapping at a path, merged ones included; none when there is no such mapping. */
  keys(path: readonly (string | number)[]): Iterable<string> {
    const node = this.#find(path)?.node
    return isMap(node) ? this.#entriesOf(node).keys() : []
  }

  #find(path: readonly (string | number)[]): { node: YamlNode | undefined; range: Range | undefined } | undefined {
    let node = this.root
    let range = node && rangeOf(node)
    for (const step of path) {
      if (isMap(node) && typeof step === 'string') {
        const entry = this.#entriesOf(node).get(step)
        node = entry?.value
        range = node && !isNothing(node) ? rangeOf(node) : entry?.key
      } else if (isSeq(node) && typeof step === 'number') {
        node = this.#target(node.items[step])
        range = node && rangeOf(node)
      } else return undefined
    }
    return { node, range }
  }

  /** A merge key (https://yaml.org/type/merge.html) takes a mapping or a list of them. */
  #merge(own: Map<string, Entry>): ReadonlyMap<string, Entry> {
    const merge = own.get('<<')
    if (merge === undefined) return own
    own.delete('<<')
    for (const source of isSeq(merge.value) ? this.items(merge.value) : [merge.value]) {
      if (!isMap(source)) {
        this.#report.error(source ? rangeOf(source) : merge.key, 'map merge requires map or sequence of maps as the value')
        continue
      }
      for (const [name, entry] of this.entries(source)) {
        if (!own.has(name)) own.set(name, entry)
      }
    }
    return own
  }

  /** The node itself, or what it stands for when it is an alias. Undefined for nothing. */
  #target(node: unknown): YamlNode | undefined {
    if (isAlias(node)) return this.#target(this.#targets.get(node))
    return isScalar(node) || isMap(node) || isSeq(node) ? node : undefined
  }

  /**
   * Stops a document that aliases and merges make grow without end ("billion laughs"): written out, a node takes at least
   * one character.
   */
  #count(nodes: number, range: Range): void {
    this.#visited += nodes
    if (this.#visited <= this.#report.text.length + MOST_EXPANDED) return
    this.#report.error(range, 'document contains excessive aliasing')
    throw this.#report.refusal()
  }
}
