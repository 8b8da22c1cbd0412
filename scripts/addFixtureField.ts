/** `npm run fixture-field -- proxy.noindex false`: gives the protocol fixtures, in which every field is required, a new one. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'

const fixtures = join(import.meta.dirname, '..', 'shared', 'fixtures')

type Json = Record<string, unknown>

/** Sets `part.key` of every fixture where it is missing and its part is there. Returns how many files changed. */
function addField(part: string, key: string, value: unknown): number {
  const accepted = join('protocol', 'accept')
  const files = ['disturbances.json', ...readdirSync(join(fixtures, accepted)).map((name) => join(accepted, name))]
  return files.filter((name) => {
    const file = join(fixtures, name)
    const fixture = JSON.parse(readFileSync(file, 'utf8')) as { value?: Json; base?: Json }
    const target = (fixture.base ?? fixture.value)?.[part]
    if (typeof target !== 'object' || target === null || key in target) return false
    Object.assign(target, { [key]: value })
    writeFileSync(file, `${JSON.stringify(fixture, null, 2)}\n`)
    return true
  }).length
}

new Command('npm run fixture-field --')
  .argument('<part.key>', 'a field of the spec: node.verbose, proxy.whois, limits.maxRequests')
  .argument('<value>', 'what it is in all fixtures that do not have it, as JSON')
  .action((path: string, value: string) => {
    const [part = '', key = ''] = path.split('.')
    console.log(`${String(addField(part, key, JSON.parse(value)))} fixtures now have ${path}`)
  })
  .parse()
