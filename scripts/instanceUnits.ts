/** The units of packaging/systemd as templates: one supervisor for each instance, as in tsnsrv-sup@home.service. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const DIRECTORY = 'packaging/systemd'

/** What is called after the supervisor, by its name in a template. The program keeps its name. */
const NAMES: readonly (readonly [RegExp, string])[] = [
  [/\b(tsnsrv-sup(?:-workers)?)\.(service|target)\b/g, '$1@%i.$2'],
  [/(\/etc\/tsnsrv-sup\/)services\.yaml/g, '$1%i.yaml'],
  [/(\/etc\/tsnsrv-sup\/)authkey/g, '$1%i.authkey'],
  [/((?:Directory|User)=|\/var\/lib\/|\/run\/)tsnsrv-sup\b/g, '$1tsnsrv-sup-%i'],
  [/^(Description=.*)$/gm, '$1 (%i)'],
]

/** The templates by their paths below `root`. */
export function instanceUnits(root: string): Record<string, string> {
  const names = readdirSync(join(root, DIRECTORY)).filter((name) => !name.includes('@'))
  return Object.fromEntries(
    names.map((name) => {
      const text = readFileSync(join(root, DIRECTORY, name), 'utf8')
      return [
        join(DIRECTORY, name.replace('.', '@.')),
        NAMES.reduce((changed, [old, fresh]) => changed.replaceAll(old, fresh), text),
      ]
    }),
  )
}
