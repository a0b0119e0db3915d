"""Counts the primes below 200,000 with the job's pool."""

import os

import pool

LIMIT = 200_000
CHUNK = 10_000


def primes_in(chunk):
    first, last = chunk
    def is_prime(number):
        return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return sum(map(is_prime, range(first, last)))


if __name__ == "__main__":
    chunks = [(first, first + CHUNK) for first in range(0, LIMIT, CHUNK)]
    counts, workers = pool.map_over(os.environ["RAY_ADDRESS"], "driver", "primes_in", chunks)
    print(f"{sum(counts)} primes below {LIMIT}, counted in {len(chunks)} tasks by {len(workers)} processes")
