/** Who may import whom inside worker/: what serves requests knows nothing of what steers it, nor of how clients reach it. */

const forbidden: [from: string, to: string][] = [
  ['internal/proxy', 'internal/control'],
  ['internal/node', 'internal/control'],
  ['internal/proxy', 'internal/service'],
  ['internal/node', 'internal/service'],
  ['internal/proxy', 'internal/exposure'],
  ['internal/proxy', 'internal/identity'],
  ['internal/proxy', 'internal/node'],
  ['internal/identity', 'internal/exposure'],
  ['internal/identity', 'internal/statedir'],
  ['internal/exposure', 'internal/proxy'],
  ['internal/forwardauth', 'internal/proxy'],
  ['internal/access', 'internal/proxy'],
  ['internal/prefix', 'internal/proxy'],
]

/**
 * What breaks the rules, one line each; empty when nothing does. Takes the output of `go list -json=ImportPath,Deps`, whose
 * Deps are complete, so a detour over a third package is found too. A package that is not there is a violation: its rule
 * would hold of nothing.
 */
export function goImportViolations(goList: string): string {
  const packages = parsePackages(goList)
  const lines = forbidden.flatMap(([from, to]) => {
    const importers = packages.filter(({ path }) => isWithin(path, from))
    if (importers.length === 0) return [`no package ${from}: has it moved?`]
    return importers
      .filter(({ deps }) => deps.some((path) => isWithin(path, to)))
      .map(({ path }) => `${path} must not import ${to}`)
  })
  return [...new Set(lines)].join('\n')
}

/** `go list -json` prints one indented object after the other, without commas. */
function parsePackages(goList: string): { path: string; deps: string[] }[] {
  if (goList.trim() === '') return []
  const list = JSON.parse(`[${goList.trim().replaceAll('\n}\n{', '\n},\n{')}]`) as { ImportPath: string; Deps?: string[] }[]
  return list.map(({ ImportPath, Deps = [] }) => ({ path: ImportPath, deps: Deps }))
}

function isWithin(path: string, folder: string): boolean {
  return `${path}/`.includes(`/worker/${folder}/`)
}
