/** What package-lock.json has to say of each package, so that an installation cannot get another one than was tried. */

interface Lockfile {
  readonly packages: Readonly<Record<string, { readonly integrity?: string; readonly resolved?: string; readonly link?: true }>>
}

/**
 * What is wrong with the text of a package-lock.json (version 3), one line each; empty when nothing is. npm itself writes no
 * `integrity` for optional packages of other platforms when it makes the file from an installed tree.
 */
export function lockfileProblems(text: string): string {
  const { packages } = JSON.parse(text) as Lockfile
  // The project itself and its workspaces are listed as well, by their folders.
  const installed = Object.entries(packages).filter(([path, { link }]) => path.includes('node_modules/') && link !== true)
  if (installed.length === 0) return 'package-lock.json: lists no package'
  const problems = installed.flatMap(([path, { integrity, resolved }]) => [
    ...(/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '')
      ? []
      : [`${path}: has no sha512 integrity: add what "npm view NAME@VERSION dist.integrity" says`]),
    ...(resolved === undefined ? [] : [`${path}: names a registry (resolved): run npm with --omit-lockfile-registry-resolved`]),
  ])
  return problems.join('\n')
}
