-- UnionCore's database as the operations plan assumes it: the live shape's names, but audit_logs.created_at and
-- dues_payments.amount, status columns of lower-case text, and no soft delete.
-- Keys, indexes and triggers are in constraints.sql.

create table alembic_version (version_num varchar(32) not null);
insert into alembic_version (version_num) values ('3f0166296a87');

create table members (
    id serial not null,
    member_number varchar(50) not null,
    first_name varchar(100) not null,
    last_name varchar(100) not null,
    middle_name varchar(100),
    address varchar(255),
    city varchar(100),
    state varchar(50),
    zip_code varchar(20),
    phone varchar(50),
    email varchar(255),
    date_of_birth date,
    hire_date date,
    status varchar(50) not null,
    classification varchar(50) not null,
    notes text,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table users (
    id serial not null,
    first_name varchar(100) not null,
    last_name varchar(100) not null,
    email varchar(255) not null,
    password_hash varchar(255) not null,
    is_active boolean not null,
    is_verified boolean not null,
    failed_login_attempts integer not null,
    locked_until timestamptz,
    created_at timestamp not null,
    updated_at timestamp not null,
    last_login timestamptz,
    member_id integer,
    must_change_password boolean not null
);

create table audit_logs (
    id serial not null,
    table_name varchar(100) not null,
    record_id varchar(50) not null,
    action varchar(10) not null,
    old_values jsonb,
    new_values jsonb,
    changed_fields jsonb,
    changed_by varchar(100),
    created_at timestamp not null default now(),
    ip_address varchar(45),
    user_agent varchar(500),
    notes text
);

create table dues_periods (
    id serial not null,
    period_year integer not null,
    period_month integer not null,
    due_date date not null,
    grace_period_end date not null,
    is_closed boolean,
    closed_at timestamp,
    notes text,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table dues_payments (
    id serial not null,
    member_id integer not null,
    period_id integer not null,
    amount numeric(10, 2) not null,
    payment_date date,
    payment_method varchar(50),
    status varchar(50) not null,
    reference_number varchar(100),
    receipt_number varchar(50),
    processed_by_id integer,
    processed_at timestamp,
    notes text,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table dues_adjustments (
    id serial not null,
    member_id integer not null,
    payment_id integer,
    amount numeric(10, 2) not null,
    reason text not null,
    status varchar(50) not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table students (
    id serial not null,
    member_id integer not null,
    student_number varchar(20) not null,
    status varchar(50) not null,
    application_date date not null,
    enrollment_date date,
    expected_completion_date date,
    actual_completion_date date,
    cohort varchar(50),
    emergency_contact_name varchar(100),
    emergency_contact_phone varchar(20),
    emergency_contact_relationship varchar(50),
    created_at timestamp not null,
    updated_at timestamp not null
);

create table refresh_tokens (
    id serial not null,
    user_id integer not null,
    token_hash varchar(255) not null,
    expires_at timestamptz not null,
    is_revoked boolean not null,
    revoked_at timestamptz,
    device_info text,
    ip_address varchar(45),
    created_at timestamp not null,
    updated_at timestamp not null
);

create table email_tokens (
    id serial not null,
    user_id integer not null,
    token_hash varchar(255) not null,
    token_type varchar(50) not null,
    expires_at timestamptz not null,
    is_used boolean not null,
    used_at timestamptz,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table member_notes (
    id serial not null,
    member_id integer not null,
    created_by_id integer,
    note_text text not null,
    visibility varchar(20) not null,
    category varchar(50),
    created_at timestamp not null default now(),
    updated_at timestamp not null default now()
);

create table referral_books (
    id serial not null,
    code varchar(50) not null,
    name varchar(100) not null,
    is_active boolean not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table book_registrations (
    id serial not null,
    member_id integer not null,
    book_id integer not null,
    status varchar(50) not null,
    registration_date date not null,
    re_sign_deadline date,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table labor_requests (
    id serial not null,
    book_id integer not null,
    employer_name varchar(200) not null,
    status varchar(50) not null,
    workers_requested integer not null,
    workers_dispatched integer not null,
    start_date date not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table dispatches (
    id serial not null,
    labor_request_id integer not null,
    member_id integer not null,
    dispatch_status varchar(50) not null,
    dispatch_date timestamp not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table grievances (
    id serial not null,
    grievance_number varchar(50) not null,
    member_id integer not null,
    employer_name varchar(200) not null,
    status varchar(50) not null,
    filed_date date not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table benevolence_applications (
    id serial not null,
    member_id integer not null,
    reason text not null,
    amount_requested numeric(10, 2) not null,
    approved_amount numeric(10, 2),
    status varchar(50) not null,
    application_date date not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table grants (
    id serial not null,
    name varchar(200) not null,
    status varchar(50) not null,
    start_date date not null,
    end_date date,
    next_report_due date,
    spent_amount numeric(12, 2) not null,
    total_amount numeric(12, 2) not null,
    created_at timestamp not null,
    updated_at timestamp not null
);
