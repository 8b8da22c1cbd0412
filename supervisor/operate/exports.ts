/** The services in the files of other programs. Each returns what that program reads, as data or as text. Pure. */
import type { ServiceEntry } from '../../shared/api.ts'

/** A name for the services that have no group. */
const NO_GROUP = 'Tailnet'

/** Services with a URL, by group. */
function grouped(services: readonly ServiceEntry[]): [group: string, services: ServiceEntry[]][] {
  const groups = new Map<string, ServiceEntry[]>()
  for (const service of services.filter(({ url }) => url !== '')) {
    const group = service.group || NO_GROUP
    groups.set(group, [...(groups.get(group) ?? []), service])
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1))
}

const all = (services: readonly ServiceEntry[]) =>
  grouped(services).flatMap(([group, members]) => members.map((service) => ({ ...service, group })))

export const exports = {
  /** services.yaml of gethomepage/homepage. */
  homepage: (services: readonly ServiceEntry[]) =>
    grouped(services).map(([group, members]) => ({
      [group]: members.map(({ name, url }) => ({ [name]: { href: url, siteMonitor: url } })),
    })),
  /** A page of glanceapp/glance: a monitor with all services, in a column of its own. */
  glance: (services: readonly ServiceEntry[]) => ({
    pages: [
      {
        name: 'Services',
        columns: [
          {
            size: 'full',
            widgets: grouped(services).map(([group, members]) => ({
              type: 'monitor',
              title: group,
              cache: '1m',
              sites: members.map(({ name, url }) => ({ title: name, url })),
            })),
          },
        ],
      },
    ],
  }),
  /** A file of TwiN/gatus' configuration directory. Any answer below 500 shows that the service is there: many ask for a login. */
  gatus: (services: readonly ServiceEntry[]) => ({
    endpoints: all(services).map(({ name, url, group }) => ({
      name,
      group,
      url,
      interval: '1m',
      conditions: ['[STATUS] < 500'],
    })),
  }),
  /** JSON files of BigBoot/AutoKuma: one object, a monitor under each name. */
  autokuma: (services: readonly ServiceEntry[]) =>
    Object.fromEntries(
      all(services).map(({ name, url }) => [
        name,
        { type: 'http', name, url, interval: 60, accepted_statuscodes: ['200-299', '300-399', '400-499'] },
      ]),
    ),
} as const

export type Format = keyof typeof exports
