/** `npm run nixos-options` writes docs/nixos-options.md, the options of the NixOS module, after nix/options.nix has changed. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { evaluate } from '../test/nix/evaluate.ts'
import { table } from './markdownTable.ts'

export const optionsPagePath = join(import.meta.dirname, '../docs/nixos-options.md')

const Options = z.array(z.object({ name: z.string(), type: z.string(), default: z.string(), description: z.string() }))

/** The page as Markdown. Needs Nix, and nixpkgs' library: see test/nix/evaluate.ts. */
export async function optionsPage(): Promise<string> {
  const options = Options.parse(await evaluate('import ./options.nix { inherit lib; }'))
  const rows = options.map(({ name, type, default: value, description }) => [
    `\`${name}\``,
    type,
    value === '' ? '' : `\`${value}\``,
    description.trim().replaceAll(/\s+/g, ' '),
  ])
  return `# Options of the NixOS module

<!-- Generated from nix/options.nix by \`npm run nixos-options\`. Edit that. -->

All are below \`services.tsnsrv\`. How they are used is in [NixOS](nixos.md). The keys of \`supervisor.settings\` and of \`settings\` have
the names, types and meanings that [configuration](configuration.md) lists; null, their default, leaves a key out of the file.

${table(['option', 'type', 'default', 'meaning'], rows)}
`
}

if (process.argv[1] === import.meta.filename) await writeFile(optionsPagePath, await optionsPage())
