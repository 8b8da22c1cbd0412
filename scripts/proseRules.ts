import { createRequire } from 'node:module'
import { TextlintKernel, type TextlintKernelPlugin, type TextlintRuleModule } from '@textlint/kernel'
import { MOST_WORDS, openings, terms } from './terms.ts'

const kernel = new TextlintKernel()
// Required, as Node and vitest disagree on the default export of these CommonJS modules.
const require = createRequire(import.meta.url)
const plugins = [
  plugin('markdown', require('@textlint/textlint-plugin-markdown')),
  plugin('text', require('@textlint/textlint-plugin-text')),
]

function plugin(pluginId: string, loaded: unknown): TextlintKernelPlugin {
  return { pluginId, plugin: (loaded as { default: TextlintKernelPlugin['plugin'] }).default }
}

/** What is against terms.ts in a document, "name:line:column: what to write", in order; `ext` says how to read it. */
export async function proseProblems(name: string, source: string, ext: '.md' | '.txt'): Promise<string[]> {
  const rules = [{ ruleId: 'plain-english', rule: plainEnglish }]
  const { messages } = await kernel.lintText(source, { ext, filePath: name, plugins, rules })
  return messages.map(({ loc, message }) => `${name}:${loc.start.line}:${loc.start.column}: ${message}`)
}

/** Terms to avoid are reported anywhere; how sentences begin and how long they are, only where there are whole sentences. */
const plainEnglish: TextlintRuleModule = (context) => {
  const { Syntax, RuleError, report, getSource, locator } = context
  const check = (node: Parameters<typeof report>[0], asSentences: boolean) => {
    const spoken = spokenPart(getSource(node))
    const complain = (index: number, message: string) => {
      report(node, new RuleError(message, { padding: locator.at(index) }))
    }
    for (const { avoid, use } of terms) {
      const found = avoid.exec(spoken)
      if (found) complain(found.index, `"${found[0]}": write ${use}`)
    }
    for (const { words, index } of asSentences ? sentences(spoken) : []) {
      const beginning = words.slice(0, 30).replaceAll('\n', ' ')
      const opening = openings.find(({ avoid }) => avoid.test(words))
      if (opening) complain(index, `"${beginning} ...": begin with ${opening.use}`)
      const count = words.split(/\s+/).length
      if (count > MOST_WORDS) complain(index, `"${beginning} ..." has ${count} words: make two sentences of it`)
    }
  }
  return {
    [Syntax.Paragraph]: (node) => {
      check(node, true)
    },
    [Syntax.Header]: (node) => {
      check(node, false)
    },
    [Syntax.TableCell]: (node) => {
      check(node, false)
    },
  }
}

/** The text with blanks for code, quotations and addresses, so that places stay as they are. */
function spokenPart(source: string): string {
  const silent = /`[^`]*`|"[^"]*"|\]\([^)]*\)|<[^>]*>|https?:\S+/g
  return source.replaceAll(silent, (part) => part.replaceAll(/[^\n]/g, '_'))
}

function sentences(source: string): { words: string; index: number }[] {
  return Array.from(source.matchAll(/\S(?:[^.?!]|[.?!](?!\s|$))*[.?!]?/g), (match) => ({ words: match[0], index: match.index }))
}
