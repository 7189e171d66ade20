// Owns where a user's tokens are; the caller's own unless a user is named.
import type { WhoAmI } from '@howdah/core/contract/users.ts'
import { apiPath } from './api-client.ts'
import type { Context } from './context.ts'

export async function tokensPath(context: Context, user: string | undefined): Promise<string> {
  const owner = user ?? (await context.client().get<WhoAmI>('/v1/whoami')).user.id
  return apiPath`/v1/users/${owner}/tokens`
}
