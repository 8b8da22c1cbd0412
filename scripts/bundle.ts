/**
 * Bundles the supervisor's command line with all that it imports: `tsx scripts/bundle.ts <directory>`. A start then reads a
 * few files instead of some hundreds, and an installation needs no node_modules.
 */
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = 'supervisor/cli/main'

/** Writes the program and its chunks below `directory`, at the depth of their sources. Throws Error with what is wrong and where. */
export async function bundle(directory: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: [`${entry}.ts`],
    // Beside the entry, so that what is found relative to a module is where it is in the source tree.
    outdir: join(directory, 'supervisor/cli'),
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    sourcemap: true,
    sourcesContent: false,
    legalComments: 'linked',
    // Some libraries are CommonJS and require what Node brings. Under a name of its own, as the program may import the function, too.
    banner: { js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);" },
    logLevel: 'silent',
  })
  await chmod(join(directory, `${entry}.js`), 0o755)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(process.argv[2] ?? 'dist')
