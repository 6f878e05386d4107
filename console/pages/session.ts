import { signal } from '@preact/signals'
import type { Right } from '../access/may.ts'
import type { Me } from '../api/me.ts'
import { request } from './api.ts'
import { switchOff } from './push.ts'

/** Who looks, and what he may: the same names as the API's rights. What he may not is not offered; the API refuses it anyway. */

export const me = signal<Me | undefined>(undefined)

export async function findOut(): Promise<void> {
  me.value = await request<Me>('GET', '/me')
}

export const may = (right: Right) => me.value?.rights.includes(right) ?? false

/** Whether he sees every site: what belongs to none is for those alone. */
export const isUnconfined = () => me.value?.sites === null && me.value.cameras === null

export async function signOut(): Promise<void> {
  // Whoever comes next at this browser must not see this one's notices. Signing out goes on without it.
  await switchOff().catch(() => undefined)
  await request('DELETE', '/session')
  location.assign('/signin')
}
