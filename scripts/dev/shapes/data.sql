-- Fills either shape with a plausible local, for psql. Its variables: live (on or off), seed, now, and the numbers
-- of rows of scripts/dev/generate.py's Scale. Everything follows from the seed and the row's number, nothing from
-- random() or the clock, so the same call makes the same rows; and it is set-based, so millions take seconds.

set local timezone = 'UTC';
select :'now'::timestamptz::timestamp as now, (:'now'::timestamptz at time zone 'America/Los_Angeles')::date as today \gset

-- dice: a number in 0 … sides - 1 that depends on the seed, the row and the throw, which is one a column.
select format($$
    create function pg_temp.dice(id bigint, throw int, sides int) returns int immutable language sql as
        'select ((hashint8extended(id, %1$s + throw) & 9223372036854775807) %% sides)::int';
    create function pg_temp.one_of(id bigint, throw int, words text[]) returns text immutable language sql as
        'select words[1 + ((hashint8extended(id, %1$s + throw) & 9223372036854775807) %% cardinality(words))::int]';
    create function pg_temp.secret(id bigint, throw int) returns text immutable language sql as
        'select encode(sha256(int8send(id) || int8send(%1$s + throw)), ''hex'')';
$$, 1000 * :seed) \gexec

\if :live
    \set soft ', is_deleted, deleted_at'
    \set soft_values ', gone, case when gone then updated_at end'
    \set amounts 'amount_due, amount_paid'
    \set amount_values 'due, paid'
    \set event_time 'changed_at'
    \set paid PAID
    \set enrolled ENROLLED
    \set member_status memberstatus
    \set classification memberclassification
    \set student_status student_status_enum
    \set payment_status duespaymentstatus
    \set payment_method duespaymentmethod
    \set token_type token_type_enum
    \set registration_status registrationstatus
    \set request_status laborrequeststatus
    \set dispatch_status dispatchstatus
    \set grievance_status grievancestatus
    \set benevolence_status benevolencestatus
    \set grant_status grant_status
    \set adjustment_status adjustmentstatus
    create function pg_temp.word(label text) returns text immutable language sql as 'select label';
\else
    \set soft ''
    \set soft_values ''
    \set amounts 'amount'
    \set amount_values 'case when paid > 0 then paid else due end'
    \set event_time 'created_at'
    \set paid COMPLETED
    \set enrolled ACTIVE
    \set member_status varchar
    \set classification varchar
    \set student_status varchar
    \set payment_status varchar
    \set payment_method varchar
    \set token_type varchar
    \set registration_status varchar
    \set request_status varchar
    \set dispatch_status varchar
    \set grievance_status varchar
    \set benevolence_status varchar
    \set grant_status varchar
    \set adjustment_status varchar
    create function pg_temp.word(label text) returns text immutable language sql as
        'select lower(label)';
\endif

insert into members (member_number, first_name, last_name, middle_name, address, city, state, zip_code, phone, email,
    date_of_birth, hire_date, status, classification, created_at, updated_at :soft)
select to_char(100000 + i, 'FM0000000'), given, family, case when pg_temp.dice(i, 3, 3) = 0 then left(given, 1) end,
    (100 + pg_temp.dice(i, 4, 9800)) || ' ' || pg_temp.one_of(i, 5, '{Alameda St,Figueroa St,Vermont Ave,Slauson Ave,Soto St,Pico Blvd}'),
    pg_temp.one_of(i, 6, '{Los Angeles,Long Beach,Torrance,Carson,Pasadena,Downey,Burbank,Whittier}'), 'CA',
    (90001 + pg_temp.dice(i, 7, 800))::text, '(213) 555-' || to_char(pg_temp.dice(i, 8, 10000), 'FM0000'),
    lower(given || '.' || family) || i || '@members.example',
    hired - 6600 - pg_temp.dice(i, 9, 8000), hired,
    cast(pg_temp.word(status) as :member_status),
    cast(pg_temp.word(case when status = 'RETIRED' then 'RETIREE' when kind < 62 then 'JOURNEYMAN' when kind < 70 then 'FOREMAN'
        when kind < 71 then 'HONORARY' else (array['APPRENTICE_1ST_YEAR', 'APPRENTICE_2ND_YEAR', 'APPRENTICE_3RD_YEAR',
        'APPRENTICE_4TH_YEAR', 'APPRENTICE_5TH_YEAR'])[kind % 5 + 1] end) as :classification),
    hired + time '17:00', updated_at :soft_values
from (
    select i, pg_temp.dice(i, 10, 100) as kind, pg_temp.dice(i, 11, 140) = 0 as gone,
        pg_temp.one_of(i, 1, '{Maria,James,Robert,Linda,Jose,David,Carmen,Michael,Susan,Luis,Karen,Anthony,Rosa,Kevin,Angela,Thomas,Denise,Hector,Grace,Samuel}') as given,
        pg_temp.one_of(i, 2, '{Garcia,Johnson,Nguyen,Martinez,Brown,Lee,Hernandez,Davis,Okafor,Kim,Lopez,Miller,Ramirez,Walker,Reyes,Scott,Torres,Young,Flores,Murphy}') as family,
        :'today'::date - case when mix between 870 and 984 then 9000 else 30 end - pg_temp.dice(i, 12, 9000) as hired,
        :'now'::timestamp - pg_temp.dice(i, 13, 500 * 86400) * interval '1 second' as updated_at,
        case when mix < 820 then 'ACTIVE' when mix < 860 then 'INACTIVE' when mix < 870 then 'SUSPENDED'
            when mix < 985 then 'RETIRED' else 'DECEASED' end as status
    from generate_series(1, :members) i, pg_temp.dice(i, 14, 1000) mix
    order by i
) drawn;

-- Of every twenty users one is locked, one was, one is inactive; of every 24 one is deleted.
insert into users (first_name, last_name, email, password_hash, is_active, is_verified, failed_login_attempts,
    locked_until, created_at, updated_at, last_login, member_id, must_change_password :soft)
select pg_temp.one_of(i, 20, '{Alice,Ben,Chloe,Dan,Elena,Frank,Gina,Henry,Ines,Jack}'),
    pg_temp.one_of(i, 21, '{Adams,Baker,Cruz,Diaz,Evans,Ford,Gray,Hill,Ito,Jones}'), 'staff' || i || '@local.example',
    '$2b$12$' || left(pg_temp.secret(i, 22), 53), i % 20 <> 5, pg_temp.dice(i, 23, 20) > 0,
    case i % 20 when 7 then 5 when 13 then 5 else greatest(0, pg_temp.dice(i, 24, 12) - 9) end,
    case i % 20 when 7 then :'now'::timestamptz + (1 + pg_temp.dice(i, 25, 29)) * interval '1 minute'
        when 13 then :'now'::timestamptz - (1 + pg_temp.dice(i, 25, 90)) * interval '1 hour' end,
    updated_at - interval '90 days', updated_at,
    case when pg_temp.dice(i, 26, 12) > 0 then :'now'::timestamptz - power(pg_temp.dice(i, 27, 1000) / 1000.0, 3) * interval '60 days' end,
    case when i % 2 = 0 and i <= :members then i end, pg_temp.dice(i, 28, 15) = 0 :soft_values
from (select i, i % 24 = 11 as gone, :'now'::timestamp - pg_temp.dice(i, 29, 300 * 86400) * interval '1 second' as updated_at
      from generate_series(1, :users) i) drawn
order by i;

insert into dues_periods (period_year, period_month, due_date, grace_period_end, is_closed, closed_at, created_at, updated_at)
select extract(year from month), extract(month from month), month, month + 14, month < :'today'::date - 75,
    case when month < :'today'::date - 75 then month + interval '75 days' end, month - interval '20 days', month - interval '20 days'
from (select generate_series(date_trunc('month', :'today'::date - :days), date_trunc('month', :'today'::date) + interval '1 month',
    interval '1 month')::date as month) months
order by month;

-- Payments fill the periods one after the other, as they do in life: an id is nearly a time.
insert into dues_payments (member_id, period_id, :amounts, payment_date, payment_method, status, reference_number,
    receipt_number, processed_by_id, processed_at, notes, created_at, updated_at :soft)
select member, period, :amount_values, payment_date,
    case when payment_date is not null and pg_temp.dice(i, 30, 25) > 0 then cast(pg_temp.word(pg_temp.one_of(i, 31,
        '{PAYROLL_DEDUCTION,PAYROLL_DEDUCTION,PAYROLL_DEDUCTION,PAYROLL_DEDUCTION,CHECK,CHECK,ACH_TRANSFER,ONLINE,CASH,CREDIT_CARD,stripe_card,stripe_card,stripe_ach,MONEY_ORDER,OTHER,stripe_other}'
        )) as :payment_method) end,
    cast(pg_temp.word(replace(status, 'PAID', :'paid')) as :payment_status), case when payment_date is not null then 'REF' || pg_temp.dice(i, 32, 1000000000) end,
    case when payment_date is not null then 'R' || to_char(i, 'FM00000000') end,
    case when payment_date is not null then 1 + pg_temp.dice(i, 33, :users) end, payment_date + time '18:30', null,
    due_date - interval '20 days', updated_at :soft_values
from (
    select *, pg_temp.dice(i, 34, 150) = 0 as gone, coalesce(payment_date + time '18:30', due_date::timestamp) as updated_at,
        case status when 'PAID' then due when 'PARTIAL' then round(due * (20 + pg_temp.dice(i, 35, 60)) / 100, 2) else 0 end as paid
    from (
        select *, case when status not in ('PAID', 'PARTIAL') then null
            -- paid in advance, by order: the date is still to come
            when due_date > :'today'::date or pg_temp.dice(i, 36, 400) = 0 then :'today'::date + 1 + pg_temp.dice(i, 37, 20)
            else due_date - 5 + pg_temp.dice(i, 37, least(30, :'today'::date - due_date + 6)) end as payment_date
        from (
            select i, member, p.id as period, due_date, (array[48.50, 62.00, 75.25, 88.75])[1 + member % 4] as due,
                case when due_date > :'today'::date then case when mix < 80 then 'PAID' else 'PENDING' end
                    when due_date > :'today'::date - 31 then
                        case when mix < 550 then 'PAID' when mix < 610 then 'PARTIAL' when mix < 880 then 'DUE' else 'PENDING' end
                    when mix < 870 then 'PAID' when mix < 905 then 'PARTIAL' when mix < 970 then 'OVERDUE'
                    when mix < 990 then 'WAIVED' else 'WRITTEN_OFF' end as status
            from (select i, 1 + i * n / :payments as period, 1 + (i * n % :payments / n + i * n / :payments * 7919) % :members as member
                from generate_series(0, :payments - 1::bigint) i, (select count(*) as n from dues_periods) periods) placed
            join dues_periods p on p.id = placed.period, pg_temp.dice(i, 38, 1000) mix
        ) owed
    ) dated
) settled
order by i;

insert into students (member_id, student_number, status, application_date, enrollment_date, expected_completion_date,
    actual_completion_date, cohort, emergency_contact_name, emergency_contact_phone, created_at, updated_at :soft)
select 1 + (i - 1) * :members / :students, 'S' || to_char(i, 'FM000000'), cast(pg_temp.word(replace(status, 'ENROLLED', :'enrolled')) as :student_status), applied,
    case when status <> 'APPLICANT' then applied + 60 end, case when status <> 'APPLICANT' then applied + 1885 end,
    case when status = 'COMPLETED' then least(applied + 1850, :'today'::date - 1) end, 'Cohort ' || extract(year from applied),
    'Contact ' || i, '(310) 555-' || to_char(pg_temp.dice(i, 40, 10000), 'FM0000'), applied::timestamp, updated_at :soft_values
from (select i, pg_temp.dice(i, 41, 120) = 0 as gone, :'now'::timestamp - pg_temp.dice(i, 42, 86400 * 200) * interval '1 second' as updated_at,
        :'today'::date - 5 - pg_temp.dice(i, 43, 1900) as applied,
        case when mix < 55 then 'ENROLLED' when mix < 61 then 'ON_LEAVE' when mix < 70 then 'APPLICANT' when mix < 92 then 'COMPLETED'
            when mix < 98 then 'DROPPED' else 'DISMISSED' end as status
      from generate_series(1, :students) i, pg_temp.dice(i, 44, 100) mix) drawn
order by i;

insert into refresh_tokens (user_id, token_hash, expires_at, is_revoked, revoked_at, device_info, ip_address, created_at, updated_at)
select 1 + pg_temp.dice(i, 50, :users), pg_temp.secret(i, 51), begun + interval '7 days', revoked,
    case when revoked then begun + interval '2 hours' end, pg_temp.one_of(i, 52, '{Firefox on Windows,Chrome on macOS,Safari on iPhone,Chrome on Windows}'),
    '10.20.' || pg_temp.dice(i, 53, 8) || '.' || pg_temp.dice(i, 54, 254) + 1, begun at time zone 'UTC', begun at time zone 'UTC'
from (select i, pg_temp.dice(i, 55, 5) = 0 as revoked,
        :'now'::timestamptz - interval '21 days' * (1 - (i - pg_temp.dice(i, 56, 1000) / 1000.0) / :sessions) as begun
      from generate_series(1, :sessions) i) drawn
order by i;

insert into email_tokens (user_id, token_hash, token_type, expires_at, is_used, used_at, created_at, updated_at)
select 1 + pg_temp.dice(i, 60, :users), pg_temp.secret(i, 61),
    cast(pg_temp.word(pg_temp.one_of(i, 62, '{PASSWORD_RESET,PASSWORD_RESET,EMAIL_VERIFICATION}')) as :token_type),
    sent + interval '1 day', used, case when used then sent + interval '20 minutes' end, sent at time zone 'UTC', sent at time zone 'UTC'
from (select i, pg_temp.dice(i, 63, 3) > 0 as used, :'now'::timestamptz - interval '40 days' * (1 - i::numeric / :email_tokens) as sent
      from generate_series(1, :email_tokens) i) drawn
order by i;
