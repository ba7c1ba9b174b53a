/*
 * PID 1 of a lab guest: proves to `lab verify-guests` that it never restarted,
 * never ran twice and lost nothing.
 *
 * Five times a second it writes one block to its disk (O_DIRECT, O_DSYNC) and,
 * only when that is done, one line to its console. So every counter on the
 * console has its block on the disk.
 *
 * Disk, in blocks of 4096 bytes:
 *   0       header   "rmlab-header boots=N boot=ID first=COUNTER\n"
 *   1..8192 a ring   "rmlab-block counter=N boot=ID uptime_ms=N\n",
 *                    counter N at block 1 + (N - 1) % 8192
 * In each block a fill that follows from the counter comes after the line; the
 * last 8 bytes are the CRC-32 of the 4088 before them, in hex.
 *
 * Console, one line each, the CRC-32 of what comes before its last blank:
 *   rmlab boot ID boots=N first=COUNTER CRC
 *   rmlab tick COUNTER UPTIME_MS ID CRC
 *   rmlab poweroff COUNTER CRC         (ACPI power button)
 *   rmlab error TEXT CRC
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/reboot.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

enum {
	BLOCK_SIZE = 4096,
	CRC_SIZE = 8,
	RING_BLOCKS = 8192,
	SCAN_BLOCKS = 64,
	TICK_MS = 200,
	INPUTS_MAX = 8,
	BOOT_ID_SIZE = 37,
};

struct guest {
	int disk;
	uint64_t boots;
	uint64_t counter;
	char boot_id[BOOT_ID_SIZE];
	struct pollfd inputs[INPUTS_MAX];
	int n_inputs;
};

static uint32_t crc32_of(const void *data, size_t size)
{
	static uint32_t table[256];
	const unsigned char *p = data;
	uint32_t crc = 0xffffffffu;

	for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
		uint32_t c = i;
		for (int bit = 0; bit < 8; bit++)
			c = (c >> 1) ^ ((c & 1) ? 0xedb88320u : 0);
		table[i] = c;
	}
	while (size--)
		crc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}

/* PID 1: when it ends the kernel panics, and the verifier sees it. */
static void give_up(void)
{
	_exit(1);
}

static int text_vformat(char *text, size_t size, const char *format,
			va_list args)
{
	int n = vsnprintf(text, size, format, args);
	if (n < 0 || (size_t)n >= size)
		give_up();
	return n;
}

/* A text that does not fit is never cut: half a line would be a false one. */
static int __attribute__((format(printf, 3, 4)))
text_format(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = text_vformat(text, size, format, args);
	va_end(args);
	return n;
}

static void __attribute__((format(printf, 1, 2)))
console_line(const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	int n = text_vformat(line, sizeof line, format, args);
	va_end(args);
	n += text_format(line + n, sizeof line - (size_t)n, " %08x\n",
			 crc32_of(line, (size_t)n));
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		give_up();
}

static void stop_with_error(const char *what)
{
	console_line("rmlab error %s: %s", what, strerror(errno));
	for (;;)
		pause();
}

static uint64_t uptime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void block_fill(char *block, int used, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (int i = used; i < BLOCK_SIZE - CRC_SIZE; i++) {
		if (i % 8 == 0) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		block[i] = (char)(x >> (i % 8 * 8));
	}
	char crc[CRC_SIZE + 1];
	text_format(crc, sizeof crc, "%08x",
		    crc32_of(block, BLOCK_SIZE - CRC_SIZE));
	memcpy(block + BLOCK_SIZE - CRC_SIZE, crc, CRC_SIZE);
}

static int block_is_whole(const char *block)
{
	char crc[CRC_SIZE + 1];

	text_format(crc, sizeof crc, "%08x",
		    crc32_of(block, BLOCK_SIZE - CRC_SIZE));
	return memcmp(block + BLOCK_SIZE - CRC_SIZE, crc, CRC_SIZE) == 0;
}

static void block_write(struct guest *g, uint64_t index, const char *line,
			uint64_t seed)
{
	static char block[BLOCK_SIZE] __attribute__((aligned(BLOCK_SIZE)));
	int n = (int)strlen(line);

	memcpy(block, line, (size_t)n);
	block_fill(block, n, seed);
	if (pwrite(g->disk, block, BLOCK_SIZE, (off_t)(index * BLOCK_SIZE)) !=
	    BLOCK_SIZE)
		stop_with_error("disk write");
}

/* The highest counter in the ring. Only the line of each block is looked at:
 * the checksum of all of them would cost seconds under TCG. */
static uint64_t ring_highest(struct guest *g)
{
	static char chunk[SCAN_BLOCKS * BLOCK_SIZE]
		__attribute__((aligned(BLOCK_SIZE)));
	uint64_t highest = 0;

	for (uint64_t at = 1; at <= RING_BLOCKS; at += SCAN_BLOCKS) {
		ssize_t n = pread(g->disk, chunk, sizeof chunk,
				  (off_t)(at * BLOCK_SIZE));
		if (n < 0)
			stop_with_error("disk read");
		for (ssize_t i = 0; i + BLOCK_SIZE <= n; i += BLOCK_SIZE) {
			unsigned long long counter;
			if (sscanf(chunk + i, "rmlab-block counter=%llu ",
				   &counter) == 1 && counter > highest &&
			    block_is_whole(chunk + i))
				highest = counter;
		}
	}
	return highest;
}

static void guest_boot(struct guest *g)
{
	static char header[BLOCK_SIZE] __attribute__((aligned(BLOCK_SIZE)));
	unsigned long long boots = 0;
	char line[160];

	int f = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
	if (f < 0 || read(f, g->boot_id, BOOT_ID_SIZE - 1) != BOOT_ID_SIZE - 1)
		stop_with_error("boot id");
	close(f);
	if (pread(g->disk, header, BLOCK_SIZE, 0) != BLOCK_SIZE)
		stop_with_error("disk read");
	if (sscanf(header, "rmlab-header boots=%llu ", &boots) == 1) {
		if (!block_is_whole(header))
			stop_with_error("header checksum");
		g->counter = ring_highest(g);
	}
	g->boots = boots + 1;
	text_format(line, sizeof line,
		    "rmlab-header boots=%llu boot=%s first=%llu\n",
		    (unsigned long long)g->boots, g->boot_id,
		    (unsigned long long)g->counter + 1);
	block_write(g, 0, line, g->boots);
	console_line("rmlab boot %s boots=%llu first=%llu", g->boot_id,
		     (unsigned long long)g->boots,
		     (unsigned long long)g->counter + 1);
}

static void guest_tick(struct guest *g)
{
	uint64_t now_ms = uptime_ms();
	unsigned long long counter = ++g->counter;
	char line[160];

	text_format(line, sizeof line,
		    "rmlab-block counter=%llu boot=%s uptime_ms=%llu\n",
		    counter, g->boot_id, (unsigned long long)now_ms);
	block_write(g, 1 + (counter - 1) % RING_BLOCKS, line, counter);
	console_line("rmlab tick %llu %llu %s", counter,
		     (unsigned long long)now_ms, g->boot_id);
}

static void inputs_open(struct guest *g)
{
	char path[32];

	for (int i = 0; i < INPUTS_MAX; i++) {
		text_format(path, sizeof path, "/dev/input/event%d", i);
		int f = open(path, O_RDONLY | O_NONBLOCK);
		if (f >= 0)
			g->inputs[g->n_inputs++] =
				(struct pollfd){ .fd = f, .events = POLLIN };
	}
}

static int power_button_pressed(struct guest *g)
{
	struct input_event event;
	int pressed = 0;

	for (int i = 0; i < g->n_inputs; i++)
		while (read(g->inputs[i].fd, &event, sizeof event) ==
		       sizeof event)
			pressed |= event.type == EV_KEY &&
				   event.code == KEY_POWER && event.value == 1;
	return pressed;
}

static void wait_for_tick(struct guest *g, uint64_t due_ms)
{
	for (;;) {
		uint64_t now_ms = uptime_ms();
		if (now_ms >= due_ms)
			return;
		poll(g->inputs, (nfds_t)g->n_inputs, (int)(due_ms - now_ms));
		if (power_button_pressed(g)) {
			console_line("rmlab poweroff %llu",
				     (unsigned long long)g->counter);
			usleep(200000); /* the UART's last bytes */
			reboot(RB_POWER_OFF);
		}
	}
}

int main(void)
{
	struct guest g = { .disk = open("/dev/vda", O_RDWR | O_DIRECT | O_DSYNC) };

	if (g.disk < 0)
		stop_with_error("/dev/vda");
	inputs_open(&g);
	guest_boot(&g);
	for (;;) {
		guest_tick(&g);
		wait_for_tick(&g, uptime_ms() + TICK_MS);
	}
}
