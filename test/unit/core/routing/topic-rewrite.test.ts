import { describe, expect, it } from 'vitest';
import {
  literalValue,
  REWRITE_LENGTH_MAX,
  RewriteError,
  type RewriteRule,
  TopicRewrite,
} from '../../../../src/core/routing/topic-rewrite.ts';

const names = ['clientid', 'username'];
const values = (name: string): string | undefined => (name === 'clientid' ? 'c1' : undefined);

function rule(source: string, pattern: string, target: string, action: RewriteRule['action'] = 'all'): RewriteRule {
  return { source, pattern, target, action };
}

describe('TopicRewrite', () => {
  it('topic() takes the first rule whose source and pattern match', () => {
    const rewrite = new TopicRewrite(
      [
        rule('x/#', '^x/y/(.+)$', 'z/$1'),
        rule('x/+/2', '^x/(.+)/(\\d+)$', 'n/$2/$1/$0'),
        rule('#', '^home$', `c/\${clientid}/home`),
      ],
      names,
    );
    expect(rewrite.topic('x/y/1', values)).toBe('z/1');
    expect(rewrite.topic('x/q/2', values)).toBe('n/2/q/x/q/2');
    expect(rewrite.topic('home', values)).toBe('c/c1/home');
    expect(rewrite.topic('other', values)).toBe('other');
    expect(rewrite.filter('x/y/+', values)).toBe('z/+');
  });

  it('has rules for publishing, for subscribing, or both', () => {
    const rewrite = new TopicRewrite([rule('a', 'a', 'p', 'publish'), rule('b', 'b', 's', 'subscribe')], names);
    expect([rewrite.topic('a', values), rewrite.topic('b', values)]).toEqual(['p', 'b']);
    expect([rewrite.filter('a', values), rewrite.filter('b', values)]).toEqual(['a', 's']);
  });

  it('topic() makes no name of a value that is absent or means more than itself', () => {
    const rewrite = new TopicRewrite([rule('a', 'a', `u/\${username}`)], names);
    const of = (username: string | undefined): string | null => rewrite.topic('a', () => username);
    expect(of('bob')).toBe('u/bob');
    expect([undefined, '', '+', 'a/b', '#', '$SYS', 'a\0'].map(of)).toEqual(new Array(7).fill(null));
    expect(literalValue('a$b')).toBe('a$b');
  });

  it('topic() refuses names that are too long or too deep for the work they would be', () => {
    const rewrite = new TopicRewrite([rule('#', '^(.*)$', 'x')], names);
    expect(rewrite.topic('a'.repeat(REWRITE_LENGTH_MAX), values)).toBe('x');
    expect(rewrite.topic('a'.repeat(REWRITE_LENGTH_MAX + 1), values)).toBeNull();
    expect(rewrite.topic('/'.repeat(200), values)).toBeNull();
  });

  it.each([
    [rule('a/#/b', 'a', 'b'), 'not the last level'],
    [rule('a', '(', 'b'), '"(" without ")"'],
    [rule('a', 'a', '$1'), 'no group $1'],
    [rule('a', 'a', `\${tenant}`), `"\${tenant}" is not known; there are \${clientid}, \${username}`],
  ])('refuses rule %j', (wrong, reason) => {
    expect(() => new TopicRewrite([wrong], names)).toThrow(RewriteError);
    expect(() => new TopicRewrite([wrong], names)).toThrow(reason);
  });
});
