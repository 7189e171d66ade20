// Owns which tests are left to `npm run test:long`, as `npm test` has half an hour on two cores.

/** For `test(name, LONG, …)`: what is tried in another way, too, or takes long for what it is. */
export const LONG =
  process.env['HOWDAH_TEST_LONG'] === '1' ? {} : { skip: 'takes long: npm run test:long' }
